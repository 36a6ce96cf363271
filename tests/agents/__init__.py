"""The agents' room: pydantic-ai without a pipe."""
