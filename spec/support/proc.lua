-- proc - child processes of the specs: started, watched, killed, never left behind.
--
-- popen is the only fork that plain Lua has. The shell it starts replaces itself at once: it tells its pid, closes
-- every descriptor it inherited (LuaSocket's are not close-on-exec), and becomes the program under setpriv, so that
-- the kernel kills the program even when the specs themselves are killed.
local socket = require "socket"
local wait = require "spec.support.wait"

local proc = {}
local methods = {}
local meta = { __index = methods }

local live = {}     -- processes not yet reaped, by pid
local folders = {}  -- temporary folders to be removed at the end
local handlers = {} -- other clean-ups, run by proc.cleanup

local function quote(s)
  return "'" .. tostring(s):gsub("'", "'\\''") .. "'"
end
proc.quote = quote

local function read_all(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read "*a"
  file:close()
  return text
end
proc.read_file = read_all

function proc.write_file(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  return path
end

-- Runs a shell command and returns its output without the last newline.
function proc.shell(command)
  local pipe = assert(io.popen(command, "r"))
  local text = pipe:read "*a"
  pipe:close()
  return (text:gsub("\n$", ""))
end

-- A new empty folder, removed when the spec file ends.
function proc.tmpdir()
  local path = proc.shell "mktemp -d \"${TMPDIR:-/tmp}/discover-spec.XXXXXX\""
  assert(path ~= "", "mktemp failed")
  folders[#folders + 1] = path
  return path
end

-- The project's folder, absolute; specs are run from there.
function proc.root()
  proc.root_path = proc.root_path or proc.shell "pwd -P"
  return proc.root_path
end

-- fn runs when the spec file ends.
function proc.at_end(fn)
  handlers[#handlers + 1] = fn
end

-- The env command in front of a program. Names to be unset come before the first assignment: env wants it so.
local function environment(names)
  local unset, set = {}, {}
  for name, value in pairs(names or {}) do
    if value then set[#set + 1] = quote(name .. "=" .. value) else unset[#unset + 1] = "-u " .. quote(name) end
  end
  return "env " .. table.concat(unset, " ") .. " " .. table.concat(set, " ")
end

local function stat(pid)
  local text = read_all("/proc/" .. pid .. "/stat")
  if not text then return nil end
  local fields = {}
  for word in text:match("^.*%)%s+(.*)$"):gmatch "%S+" do fields[#fields + 1] = word end
  return fields[1], tonumber(fields[50])
end

-- Starts a program.
--   proc.start{ "redis-server", "--port", "1234", name=, env={NAME="v" or false}, cwd=, stdout=, stderr=, stdin= }
-- Without stdout and stderr both go to one temporary file, see p:output().
function proc.start(options)
  local words = {}
  for i, word in ipairs(options) do words[i] = quote(word) end
  assert(#words > 0, "proc.start needs a program")
  local out = options.stdout
  if not out then
    out = proc.tmpdir() .. "/" .. (options.name or "output"):gsub("%W", "-")
  end
  local script = table.concat({
    "echo $$",
    options.cwd and "cd " .. quote(options.cwd) .. " || exit 127" or ":",
    "for f in /proc/$$/fd/*; do n=${f##*/}; (( n > 2 )) && eval \"exec $n>&-\"; done",
    ("exec %s setpriv --pdeathsig KILL %s <%s >%s 2>%s"):format(environment(options.env), table.concat(words, " "),
      quote(options.stdin or "/dev/null"), quote(out), options.stderr and quote(options.stderr) or "&1"),
  }, "\n")
  local pipe = assert(io.popen("exec bash -c " .. quote(script), "r"))
  local pid = tonumber(pipe:read "*l")
  assert(pid, "cannot start " .. tostring(options[1]))
  -- The pipe's other end closes when the program itself has been started.
  local rest = pipe:read "*a"
  local p = setmetatable({
    pid = pid, pipe = pipe, out = out, err = options.stderr or out, name = options.name or options[1],
  }, meta)
  live[pid] = p
  assert(rest == "", rest)
  return p
end

-- True while the process runs (a stopped one runs, a dead one that nobody waited for does not).
function methods:alive()
  if self.code then return false end
  local state, code = stat(self.pid)
  if state and state ~= "Z" and state ~= "X" then return true end
  -- The kernel keeps the exit code in the zombie; popen's close does not tell it on every Lua.
  code = code or 0
  self.signal = code % 128
  self.code = self.signal > 0 and 128 + self.signal or math.floor(code / 256) % 256
  live[self.pid] = nil
  self.pipe:close()
  return false
end

-- Sends a signal ("TERM" by default; a name or a number). Nothing happens to a process that has ended.
function methods:kill(signal)
  if self:alive() then proc.shell(("kill -%s %d 2>&1"):format(signal or "TERM", self.pid)) end
  return self
end

-- Waits for the end; returns the exit code (128 + n for signal n) and the signal or 0; nil, "timeout" after `seconds`.
function methods:wait(seconds)
  if not wait.poll(function() return not self:alive() end, seconds or 10) then return nil, "timeout" end
  return self.code, self.signal
end

-- SIGKILL, and waits until it is gone.
function methods:destroy()
  self:kill "KILL"
  return self:wait(10)
end

-- What it has written so far; the first is standard output (with standard error, when they share a file).
function methods:output()
  return read_all(self.out) or "", self.err ~= self.out and read_all(self.err) or nil
end

-- A shell command that counts the open descriptors of the process that runs it by popen; the pipe of popen itself, of
-- which one end or both may be there, is left out.
proc.COUNT_DESCRIPTORS = [[find /proc/$PPID/fd -type l -printf '%l\n' 2>/dev/null |
  grep -vcF "$(readlink /proc/$$/fd/1)"]]

-- The number of this process's.
function proc.descriptors()
  return tonumber(proc.shell(proc.COUNT_DESCRIPTORS))
end

-- The number of its open descriptors, of its threads, and its resident memory in KiB.
function methods:descriptors()
  return tonumber(proc.shell(("ls /proc/%d/fd 2>/dev/null | wc -l"):format(self.pid)))
end

-- One that was joined is counted until the kernel has cleared it away: the least of some looks is told.
function methods:threads()
  local least = math.huge
  for _ = 1, 10 do
    local status = read_all("/proc/" .. self.pid .. "/status") or ""
    least = math.min(least, tonumber(status:match "Threads:%s*(%d+)") or 0)
    socket.sleep(0.005)
  end
  return least
end

function methods:memory()
  return tonumber((read_all("/proc/" .. self.pid .. "/status") or ""):match "VmRSS:%s*(%d+)")
end

-- Kills what is left and removes the temporary folders; called at the end of every spec file.
function proc.cleanup()
  for i = #handlers, 1, -1 do
    pcall(handlers[i])
    handlers[i] = nil
  end
  local pids = {}
  for pid, p in pairs(live) do
    if p:alive() then pids[#pids + 1] = pid end
  end
  if #pids > 0 then proc.shell("kill -KILL " .. table.concat(pids, " ") .. " 2>/dev/null") end
  for _, p in pairs(live) do p:wait(10) end
  live = {}
  if #folders > 0 then
    for i, path in ipairs(folders) do folders[i] = quote(path) end
    proc.shell("rm -rf " .. table.concat(folders, " "))
    folders = {}
  end
end

return proc
