-- lua_run - Lua programs in a process of their own, with the built module on the path: exits, crashes, forks.
--
--   local r = lua_run("print(require 'discover'._VERSION)")   -- r.ok r.code r.signal r.out r.err
--   local p = lua_run.start(code, { args = {...}, env = {...} })   -- a proc, for programs that go on
local build = require "spec.support.build"
local proc = require "spec.support.proc"

local lua_run = {}

-- The words that start a Lua that can load our module: the interpreter of these specs, or the named one. With a
-- sanitizer $DISCOVER_TEST_LOADER comes first: the dynamic loader with the sanitizer's runtime, which, unlike
-- LD_PRELOAD, says nothing to the shells and servers that the program starts (dash dies under libtsan).
function lua_run.interpreter(name)
  local words = {}
  for word in (os.getenv "DISCOVER_TEST_LOADER" or ""):gmatch "%S+" do words[#words + 1] = word end
  words[#words + 1] = proc.shell("command -v " .. (name or build.interpreter))
  return words
end

-- The folder of the build under test, absolute.
function lua_run.build()
  return build.folder:sub(1, 1) == "/" and build.folder or proc.root() .. "/" .. build.folder
end

-- LUA_PATH and LUA_CPATH with the working tree's module and the build under test in front.
function lua_run.paths()
  local root = proc.root()
  return {
    LUA_PATH = ("%s/lua/?.lua;%s/lua/?/init.lua;%s/?.lua;;"):format(root, root, root),
    LUA_CPATH = lua_run.build() .. "/lua/?.so;;",
    -- The names that win over those two where a Lua knows them.
    LUA_PATH_5_2 = false, LUA_CPATH_5_2 = false, LUA_PATH_5_3 = false, LUA_CPATH_5_3 = false,
    LUA_PATH_5_4 = false, LUA_CPATH_5_4 = false,
  }
end

local function prepare(code, options)
  local dir = proc.tmpdir()
  local file = proc.write_file(dir .. "/program.lua", code)
  local start = { name = "lua", cwd = options.cwd, stdin = options.stdin,
                  stdout = options.stdout or dir .. "/out", stderr = options.stderr or dir .. "/err",
                  env = lua_run.paths() }
  for name, value in pairs(options.env or {}) do start.env[name] = value end
  for _, word in ipairs(options.wrap or {}) do start[#start + 1] = word end
  for _, word in ipairs(lua_run.interpreter(options.interpreter)) do start[#start + 1] = word end
  start[#start + 1] = file
  for _, word in ipairs(options.args or {}) do start[#start + 1] = word end
  return start
end

-- Starts a program and returns its proc. Options: args, env, cwd, stdin (a file), stdout, stderr, interpreter,
-- wrap (words put before the interpreter).
function lua_run.start(code, options)
  return proc.start(prepare(code, options or {}))
end

-- Runs a program to its end. The same options, and timeout (30 s, scaled): then it is killed and r.timeout is true.
function lua_run.run(code, options)
  options = options or {}
  local p = lua_run.start(code, options)
  local exit, signal = p:wait(options.timeout or 30)
  local timeout = not exit
  if timeout then exit, signal = p:destroy() end
  local out, err = p:output()
  return { ok = exit == 0, code = exit, signal = signal, timeout = timeout, out = out, err = err or "" }
end

return setmetatable(lua_run, { __call = function(_, ...) return lua_run.run(...) end })
