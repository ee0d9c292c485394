-- c_host - C programs on an installed libdiscover: the build under test is installed into a private folder once.
--
--   local host = c_host.install()                  -- .prefix
--   local program = host:compile("examples/c/hello.c", { static =, options = "-pthread" })   -- a path
--   host:run{ program, args... }                   -- {code=, signal=, out=}
local lua_run = require "spec.support.lua_run"
local proc = require "spec.support.proc"

local c_host = {}
local methods = {}
local meta = { __index = methods }

-- What the build under test was configured with: setting("DISCOVER_SANITIZE") -> "address"
function c_host.setting(name)
  return (proc.read_file(lua_run.build() .. "/CMakeCache.txt") or ""):match("\n" .. name .. ":%u+=([^\n]*)") or ""
end

-- Flags that a program needs to go with a sanitized library.
function c_host.flags()
  local sanitizer = c_host.setting "DISCOVER_SANITIZE"
  if sanitizer == "address" then return "-fsanitize=address,undefined -fno-sanitize-recover=undefined" end
  return sanitizer ~= "" and "-fsanitize=" .. sanitizer or ""
end

-- Runs a shell command and returns its output; raises when it fails.
function c_host.shell(command)
  local text = proc.shell("{ " .. command .. "\n} 2>&1; echo \" exit $?\"")
  local said, code = text:match "^(.*) exit (%d+)$"
  assert(code == "0", command .. ":\n" .. said)
  return (said:gsub("\n$", ""))
end

function c_host.install()
  local host = setmetatable({ prefix = proc.tmpdir() .. "/prefix" }, meta)
  c_host.shell(("cmake --install %s --prefix %s"):format(proc.quote(lua_run.build()), proc.quote(host.prefix)))
  return host
end

-- What pkg-config says of the installed library.
function methods:pkg_config(words)
  return c_host.shell(("PKG_CONFIG_PATH=%s/lib/pkgconfig pkg-config %s discover"):format(self.prefix, words))
end

-- Compiles a C file (a path in the tree, or text that ends with a newline) and returns the program.
-- Options: static (libdiscover.a instead of .so), options, libs (more words for the compiler, in front and behind),
-- shared (a plugin), bare (not linked with it), cc.
function methods:compile(source, options)
  options = options or {}
  local dir = proc.tmpdir()
  local file = source:find "\n" and proc.write_file(dir .. "/program.c", source) or proc.root() .. "/" .. source
  local libs = self:pkg_config(options.static and "--static --libs" or "--libs")
  if options.bare then libs = "" end
  if options.static then libs = libs:gsub("%-ldiscover", "-l:libdiscover.a") end
  local program = dir .. "/" .. (options.shared and "plugin.so" or "program")
  c_host.shell(("%s -O1 -g -Wall -Wextra %s %s %s %s %s -o %s %s %s -Wl,-rpath,%s/lib"):format(
    options.cc or "cc -std=gnu11", c_host.flags(), options.shared and "-shared -fPIC" or "", options.options or "",
    self:pkg_config "--cflags", file, program, options.libs or "", libs, self.prefix))
  return program
end

-- The Lua module of the tree, linked with the installed libdiscover.so; returns the pattern for package.cpath.
function methods:module()
  local dir = proc.tmpdir()
  c_host.shell(("cmake -S . -B %s -G Ninja -DCMAKE_BUILD_TYPE=Debug -DDISCOVER_LIBRARY=%s/lib/libdiscover.so "
    .. "-DDISCOVER_SANITIZE=%s && cmake --build %s"):format(dir, self.prefix, c_host.setting "DISCOVER_SANITIZE", dir))
  return dir .. "/lua/?.so"
end

-- Runs a program to its end; more fields as for proc.start, and timeout.
function c_host.run(words)
  local p = proc.start(words)
  local code, signal = p:wait(words.timeout or 20)
  local out = p:output()
  if not code then
    p:destroy()
    error(("%s does not end:\n%s"):format(words[1], out))
  end
  return { ok = code == 0, code = code, signal = signal, out = out }
end

methods.run = function(_, words) return c_host.run(words) end

return c_host
