rockspec_format = "3.0"
package = "discover"
version = "0.1.0-1"
source = {
  -- Built from the working tree: luarocks make rockspec/discover-0.1.0-1.rockspec
  url = "git+file://.",
}
description = {
  summary = "Service discovery, client-side load balancing and service calls over Redis",
  detailed = [[
    Register a program under an app name, call other apps by name: the core knows
    which nodes live, picks one, retries on another and hands back a result.
    A C core (libuv, hiredis, libcurl, c-ares, libsodium) behind a small Lua module.]],
  license = "MIT",
}
dependencies = {
  "lua >= 5.1, < 5.5",
}
-- The C libraries are found by pkg-config; CMake names the one that is missing.
build = {
  type = "cmake",
  variables = {
    CMAKE_BUILD_TYPE = "RelWithDebInfo",
    DISCOVER_C_LIBRARY = "OFF",
    LIBDIR = "$(LIBDIR)",
    LUADIR = "$(LUADIR)",
    LUA_INCDIR = "$(LUA_INCDIR)",
  },
  copy_directories = {},
}
test = {
  type = "command",
  command = "scripts/test --quick",
}
