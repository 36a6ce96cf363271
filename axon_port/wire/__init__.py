"""The wire: frames, JSON, commands, events and errors. It knows bytes and rules; no descriptor, no agent."""
