-- soak - the peers, the schedule of what breaks, the lines and the verdict; see main.lua for its arguments.
local discover = require "discover"
local json = require "dkjson"
local lua_run = require "spec.support.lua_run"
local proc = require "spec.support.proc"
local sentinel = require "spec.support.sentinel"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local minutes, as_json = tonumber(arg[1]), arg[2] == "json"
local total = minutes * 60
local every = minutes < 2 and 10 or 60
local SERVICES, IN_FLIGHT, STEP, FIRST = 4, 64, 1.05, 0.0001

local function say(format, ...)
  if not as_json then print(format:format(...)) end
  io.stdout:flush()
end

local function show(value)
  if as_json then print(json.encode(value)) end
  io.stdout:flush()
end

-- ---- peers

local group = sentinel.group { down_after = 1000, failover_timeout = 5000 }
local registry = group:url()
local services, quick, owners = {}, {}, {}
for i = 1, SERVICES do
  services[i] = service.start { app = "soak", registry = registry, opts = { log_level = "off" } }
end
-- nginx cannot register itself: its registrations live here, and stay when it is killed.
for i = 1, 2 do
  quick[i] = service.nginx { ["/echo"] = { 'return 200 "quick $arg_id";' } }
  owners[i] = assert(discover.start(registry, "quick", quick[i].addr, { log_level = "off" }))
end

local dir = proc.tmpdir()
local settings = { registry = registry, counts = dir .. "/counts", stop = dir .. "/stop" }
proc.write_file(dir .. "/settings.json", json.encode(settings))
local client = lua_run.start(assert(proc.read_file "scripts/soak.d/client.lua"), { args = { dir .. "/settings.json" } })

local function counts()
  local text = proc.read_file(settings.counts)
  return text and json.decode(text)
end

local function client_problem()
  local out, err = client:output()
  return "the client ended:\n" .. out .. (err or "")
end

wait.until_true(function() return not client:alive() or counts() end, 20, "the client to begin")
assert(client:alive(), client_problem())

-- ---- what breaks

-- The server that takes writes at this moment.
local function master()
  for _, r in ipairs { group.master, group.replica } do
    local role = r.p:alive() and r:cli "ROLE"
    if role and role[1] == "master" then return r end
  end
end

local killed
local schedule = {
  { "kill -9 of a service", function() services[1]:kill() end },
  { "the service is back", function() services[1]:start() end },
  { "failover by hand", function() group.sentinels[1]:call("SENTINEL", "FAILOVER", group.name) end },
  { "FLUSHALL", function()
    local r = master()
    if r then r:cli "FLUSHALL" end
  end },
  { "kill -9 of the master", function()
    killed = master()
    if killed then killed:kill() end
  end },
  { "kill -9 of a service", function() services[2]:kill() end },
  { "both are back", function()
    services[2]:start()
    if killed then killed:start() end
    killed = nil
  end },
  { "a service hangs (SIGSTOP)", function() services[3].p:kill "STOP" end },
  { "it goes on", function() services[3].p:kill "CONT" end },
}
local gap = math.max(1.5, math.min(8, total / (#schedule + 1)))

-- ---- lines

local function percentile(now, before, share)
  local sum, list = 0, {}
  for bucket, n in pairs(now.buckets) do
    local more = n - ((before.buckets or {})[bucket] or 0)
    list[#list + 1] = { tonumber(bucket), more }
    sum = sum + more
  end
  table.sort(list, function(a, b) return a[1] < b[1] end)
  local seen = 0
  for _, pair in ipairs(list) do
    seen = seen + pair[2]
    if seen >= share * sum and seen > 0 then return 1000 * FIRST * STEP ^ (pair[1] + 1) end
  end
  return 0
end

local function codes_of(now, before)
  local list = {}
  for code, n in pairs(now.codes) do
    local more = n - ((before.codes or {})[code] or 0)
    if more > 0 then list[#list + 1] = ("%s %d"):format(code, more) end
  end
  table.sort(list)
  return #list > 0 and table.concat(list, ", ") or "-"
end

local start, last, last_at = wait.now(), { calls = 0 }, wait.now()
local broken, samples = {}, {}

local function sample()
  local one = { at = wait.now() - start, memory = client:memory(), descriptors = client:descriptors() }
  if one.memory and one.descriptors then samples[#samples + 1] = one end
  return samples[#samples]
end

local function line()
  local now, at, of = counts(), wait.now(), sample()
  local calls = now.calls - last.calls
  local p50, p99 = percentile(now, last, 0.5), percentile(now, last, 0.99)
  local codes, what = codes_of(now, last), table.concat(broken, ", ")
  say("%6s %9d %7.0f %6d %-20s %7.1f %7.1f %8d %6d  %s", ("%d:%02d"):format((at - start) // 60, (at - start) % 60 // 1),
    calls, calls / (at - last_at), now.wrong, codes, p50, p99, of.memory, of.descriptors, what)
  show { seconds = at - start, calls = calls, wrong = now.wrong, failed = codes, p50_ms = p50, p99_ms = p99,
         memory_kib = of.memory, descriptors = of.descriptors, broken = what }
  last, last_at, broken = now, at, {}
end

say("soak: %g minutes, %d calls in flight; a master, a replica, 3 Sentinels, %d services, %d nginx; something breaks "
  .. "every %.1f s", minutes, IN_FLIGHT, SERVICES, #quick, gap)
say("%6s %9s %7s %6s %-20s %7s %7s %8s %6s  %s", "time", "calls", "/s", "wrong", "failed", "p50 ms", "p99 ms",
  "KiB", "fds", "broken")

local next_break, next_line, next_sample, turn = start + gap, start + every, start + 1, 0
while wait.now() < start + total do
  if not client:alive() then error(client_problem()) end
  local now = wait.now()
  -- Nothing is broken in the last moments: what was broken is put right.
  if now >= next_break and (turn % #schedule ~= 0 or now + gap * #schedule <= start + total + gap) then
    local one = schedule[turn % #schedule + 1]
    broken[#broken + 1] = one[1]
    one[2]()
    turn, next_break = turn + 1, now + gap
  end
  if now >= next_sample then
    sample()
    next_sample = now + 1
  end
  if now >= next_line then
    line()
    next_line = next_line + every
  end
  wait.pass(0.05)
end
if #broken > 0 or wait.now() - last_at > every / 2 then line() end

-- ---- the verdict

proc.write_file(settings.stop, "")
services[3].p:kill "CONT"
local code = client:wait(60)
local sum = counts()
local problems = {}
local function must(ok, ...)
  if not ok then problems[#problems + 1] = string.format(...) end
end

-- The most between two shares of the time.
local function most(what, from, to)
  local max = 0
  for _, one in ipairs(samples) do
    if one.at >= from * total and one.at <= to * total then max = math.max(max, one[what]) end
  end
  return max
end

must(code == 0 and sum.over, "the client did not end well: %s", client_problem())
must(sum.wrong == 0, "%d wrong answers", sum.wrong)
must(sum.failed_gets * 1000 <= sum.calls, "%d GETs of %d calls failed", sum.failed_gets, sum.calls)
-- A POST that a dying service may have begun with is not sent again.
must(sum.failed - sum.failed_gets <= IN_FLIGHT * turn, "%d POSTs failed", sum.failed - sum.failed_gets)
must(sum.calls > 0, "no calls")
-- In a minute or two nothing has settled yet: only what can be no connection kept alive is too much.
local more_memory, more_few = 4096, 16
if minutes < 2 then more_memory, more_few = 16384, IN_FLIGHT * (SERVICES + #quick) end
local early, late = most("memory", 0.1, 0.6), most("memory", 0.6, 1)
must(late <= early * 1.1 + more_memory, "memory grows: %d KiB at most, later %d KiB", early, late)
local few, many = most("descriptors", 0.1, 0.6), most("descriptors", 0.6, 1)
must(many <= few * 1.25 + more_few, "descriptors grow: %d at most, later %d", few, many)
must((sum.left or 0) <= 0, "%d descriptors were not given back", sum.left or 0)

for _, owner in ipairs(owners) do owner:stop() end
local verdict = #problems == 0 and "flat" or table.concat(problems, "; ")
say("soak: %d calls, %.3f attempts each, %d failed (%d GET), %d wrong; memory at most %d KiB, later %d; descriptors at "
  .. "most %d, later %d, %d left over: %s", sum.calls, sum.attempts / math.max(1, sum.calls), sum.failed,
  sum.failed_gets, sum.wrong, early, late, few, many, sum.left or -1, verdict)
for _, why in ipairs(sum.why) do say("  %s", why) end
show {
  total = true, calls = sum.calls, attempts = sum.attempts, failed = sum.failed, failed_gets = sum.failed_gets,
  codes = sum.codes, wrong = sum.wrong, memory_kib = { early, late }, descriptors = { few, many },
  left_over = sum.left, ok = #problems == 0, problems = problems, why = sum.why,
}
return #problems == 0
