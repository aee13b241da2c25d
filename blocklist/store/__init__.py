"""Storage: one port (`port`), its adapters, and where everything lies (`layout`)."""
