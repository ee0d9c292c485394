# discover_lua_headers: the headers of the chosen Lua, and where its modules are installed.
#
# LUA_INCDIR, LIBDIR and LUADIR, as a rockspec passes them, win over pkg-config and the system's folders.
include(GNUInstallDirs)

if(DISCOVER_LUA MATCHES "^5\\.([1-4])$")
  set(lua_module_names lua${DISCOVER_LUA} lua-${DISCOVER_LUA} lua5${CMAKE_MATCH_1})
  set(lua_module_dir "${DISCOVER_LUA}")
elseif(DISCOVER_LUA STREQUAL "luajit")
  set(lua_module_names luajit)
  set(lua_module_dir "5.1")
else()
  message(FATAL_ERROR "DISCOVER_LUA is \"${DISCOVER_LUA}\"; known are: 5.4, 5.3, 5.2, 5.1, luajit")
endif()

add_library(discover_lua_headers INTERFACE)
if(LUA_INCDIR)
  target_include_directories(discover_lua_headers SYSTEM INTERFACE "${LUA_INCDIR}")
else()
  find_package(PkgConfig REQUIRED)
  pkg_search_module(DISCOVER_LUA_PC REQUIRED ${lua_module_names})
  # Only the headers: the symbols come from the interpreter that loads the module.
  target_include_directories(discover_lua_headers SYSTEM INTERFACE ${DISCOVER_LUA_PC_INCLUDE_DIRS})
endif()

if(LIBDIR)
  set(DISCOVER_LUA_LIBDIR "${LIBDIR}")
else()
  # Not under the multiarch folder: the interpreters look into <prefix>/lib/lua/<version>.
  set(DISCOVER_LUA_LIBDIR "lib/lua/${lua_module_dir}")
endif()
if(LUADIR)
  set(DISCOVER_LUA_DIR "${LUADIR}")
else()
  set(DISCOVER_LUA_DIR "${CMAKE_INSTALL_DATADIR}/lua/${lua_module_dir}")
endif()
