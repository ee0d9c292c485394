-- main - runs the parts of the bench and prints their rows; started by bench/run.
local discover = require "discover"
local json = require "dkjson"
local measure = require "bench.measure"
local proc = require "spec.support.proc"

local PARTS = { "http", "futures", "download", "ws", "pick", "registry", "lifecycle" }

local settings = { rounds = 21, scale = 1, json = false, parts = {} }

local function usage(what)
  io.stderr:write("bench: ", what, "; see bench/run --help\n")
  os.exit(2)
end

local function read_arguments()
  local i = 1
  while arg[i] do
    if arg[i] == "--quick" then
      settings.rounds, settings.scale = 7, 0.1
    elseif arg[i] == "--json" then
      settings.json = true
    elseif arg[i] == "--only" then
      i = i + 1
      settings.parts[#settings.parts + 1] = arg[i]
    else
      usage("unknown option '" .. arg[i] .. "'")
    end
    i = i + 1
  end
  if #settings.parts == 0 then settings.parts = PARTS end
end

-- n, fewer of it with --quick, but never less than `least`.
function settings.count(n, least)
  return math.max(least or 10, math.floor(n * settings.scale))
end

-- What it was measured on.
local function machine()
  local model = (proc.read_file "/proc/cpuinfo" or ""):match "model name%s*:%s*([^\n]+)" or "unknown"
  return {
    cpu = model, cores = tonumber(proc.shell "nproc"), kernel = proc.shell "uname -sr",
    lua = _VERSION, discover = discover._VERSION, rounds = settings.rounds, quick = settings.scale < 1,
  }
end

local function run()
  local rows = {}
  for _, part in ipairs(settings.parts) do
    local ok, fn = pcall(require, "bench.parts." .. part)
    if not ok then usage("no part '" .. part .. "'") end
    if not settings.json then io.stderr:write("measuring ", part, "\n") end
    for _, row in ipairs(fn(settings)) do
      row.part = part
      rows[#rows + 1] = row
    end
    proc.cleanup()
  end
  return measure.judge(rows)
end

read_arguments()
local about = machine()
local ok, rows = xpcall(run, debug.traceback)
proc.cleanup()
if not ok then
  io.stderr:write("bench: ", tostring(rows), "\n")
  os.exit(1)
end
if settings.json then
  print(json.encode({ machine = about, rows = rows }, { indent = true }))
else
  print(("%s, %d cores, %s, %s, discover %s; medians of %d interleaved rounds%s\n"):format(about.cpu, about.cores,
    about.kernel, about.lua, about.discover, about.rounds, about.quick and " (quick)" or ""))
  measure.print_table(rows)
end
