-- native - a little C for specs: fork, _exit, abort, further Lua states, threads (see native.c).
--
--   local r = native.run(code)        -- lua_run with `native` as a global of the program
--   native.run(code, { forks = true })  -- its children lack the threads of their parent: the leak checker would take
--                                        -- what those held on their stacks for lost
--   native.cpath()                    -- for LUA_CPATH of a program that says require "native"
local build = require "spec.support.build"
local lua_run = require "spec.support.lua_run"
local proc = require "spec.support.proc"

local native = {}

local folder

-- Compiles it; returns the pattern for package.cpath.
function native.cpath()
  if not folder or not proc.read_file(folder .. "/native.so") then
    folder = proc.tmpdir()
    local command = "cc -std=gnu11 -O1 -shared -fPIC -pthread -I%s -o %s/native.so %s/spec/support/native.c 2>&1"
    local said = proc.shell(command:format(build.headers, folder, proc.root()))
    assert(proc.read_file(folder .. "/native.so"), "native.c does not compile: " .. said)
  end
  return folder .. "/?.so"
end

local function prepare(options)
  local copy = {}
  for name, value in pairs(options or {}) do copy[name] = value end
  copy.env = { LUA_CPATH = native.cpath() .. ";" .. lua_run.paths().LUA_CPATH }
  for name, value in pairs((options or {}).env or {}) do copy.env[name] = value end
  local asan = os.getenv "ASAN_OPTIONS"
  if copy.forks and asan then copy.env.ASAN_OPTIONS = asan .. ":detect_leaks=0" end
  copy.forks = nil
  return copy
end

local PROLOGUE = "native = require 'native'; discover = require 'discover'\n"

-- Runs a program to its end; options and result are lua_run's.
function native.run(code, options)
  return lua_run.run(PROLOGUE .. code, prepare(options))
end

-- Starts it and returns its proc.
function native.start(code, options)
  return lua_run.start(PROLOGUE .. code, prepare(options))
end

-- Options for remote.start, so that its program can say require "native".
function native.options(options)
  return prepare(options)
end

return native
