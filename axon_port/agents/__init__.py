"""The agents: from a command's data to pydantic-ai and back. They know no pipe, no id and no thread of the worker."""
