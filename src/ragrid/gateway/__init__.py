"""The edge: nginx configuration, Lua, and the controller that feeds it."""
