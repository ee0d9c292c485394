-- wait - time in the specs: a monotonic enough clock, and waiting for a condition instead of sleeping.
--
-- Every limit given here is multiplied by $DISCOVER_TEST_SLOW (sanitizers, valgrind, loaded machines).
local socket = require "socket"

local wait = {}

local slow = tonumber(os.getenv "DISCOVER_TEST_SLOW" or "") or 1

-- Seconds, as a float; differences are what matters.
wait.now = socket.gettime

-- How much slower than normal this round may be.
wait.slow = slow

-- A limit for a thing that takes about `seconds` on a quiet machine.
function wait.scale(seconds)
  return seconds * slow
end

-- Lets `seconds` pass. Only for what *is* about time passing (a ttl that must expire), never to synchronise.
function wait.pass(seconds)
  socket.sleep(seconds)
end

-- Calls fn until it returns something true, and returns that; nil and the last answer when time is up.
function wait.poll(fn, seconds, step)
  local deadline = wait.now() + wait.scale(seconds or 5)
  step = step or 0.002
  while true do
    local results = { fn() }
    if results[1] then return (unpack or table.unpack)(results) end
    if wait.now() >= deadline then return nil, results[2] end
    socket.sleep(step)
    step = math.min(step * 1.3, 0.05)
  end
end

-- The same, but raises when time is up; `what` says what was waited for.
function wait.until_true(fn, seconds, what)
  local results = { wait.poll(fn, seconds) }
  if results[1] then return (unpack or table.unpack)(results) end
  local last = results[2] ~= nil and (" (last: " .. tostring(results[2]) .. ")") or ""
  error(("waited %.1f s for %s%s"):format(wait.scale(seconds or 5), what or "a condition", last), 2)
end

-- Asserts that fn holds during all of `seconds` (unscaled); `what` names what must hold.
function wait.holds(fn, seconds, what)
  local deadline = wait.now() + seconds
  repeat
    local ok, why = fn()
    if not ok then
      error(("%s did not hold%s"):format(what or "a condition", why and ": " .. tostring(why) or ""), 2)
    end
    socket.sleep(0.005)
  until wait.now() >= deadline
end

-- Runs fn, raises if it took longer than `seconds` (scaled); returns the seconds and fn's results.
function wait.within(seconds, fn, ...)
  local start = wait.now()
  local results = { fn(...) }
  local took = wait.now() - start
  if took > wait.scale(seconds) then
    error(("took %.3f s, allowed were %.3f s"):format(took, wait.scale(seconds)), 2)
  end
  return took, (unpack or table.unpack)(results)
end

return wait
