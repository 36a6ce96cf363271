"""pydantic-ai's capabilities by data, MCP servers above all: real servers, real children, real endings."""
