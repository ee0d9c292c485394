-- download - a large answer straight into a file, with progress.
--
--   examples/run examples/download.lua [registry [path [file]]]
--
-- Without arguments: "/" of the app "hello" (examples/service.lua) into a temporary file.
local discover = require "discover"
local registry = arg[1] or discover.DEFAULT_REGISTRY
local path, file = arg[2] or "/", arg[3]
local d = assert(discover.open(registry, { calls = { hello = { timeout = 5 } } }))

-- Called as bytes come; the total is nil when the service does not tell it.
local shown
local function progress(now, total, direction)
  local percent = total and total > 0 and math.floor(now * 100 / total)
  if percent == shown then return end
  shown = percent
  io.write(direction, " ", now, " bytes", percent and (" (" .. percent .. " %)") or "", "\n")
end

-- Returns when the headers are there: the body still is in the network, however large it is.
local res = d:request { app = "hello", path = path, stream = true, progress = progress }
if not res.ok then
  print("failed", res.err or res.status, res.why)
  return d:stop()
end

-- All or nothing: a download that breaks leaves no file behind. `timeout` is the longest silence now.
local target = file or os.tmpname()
local ok, why = res:save(target)
print(ok and "saved " .. target or "broken: " .. why)
if not file then os.remove(target) end
d:stop()
