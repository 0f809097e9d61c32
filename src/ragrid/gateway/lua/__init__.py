"""The edge in Lua, one file a subject; nginx loads the files from this folder or from a copy of it."""

from pathlib import Path

#: The folder that `GatewayConfig.lua_directory` names unless a driver made a copy.
LUA_DIRECTORY = Path(__file__).resolve().parent
