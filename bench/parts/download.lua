-- download - a file of 1 GiB from a local nginx: handed to a loop piece by piece, and saved to a file.
local discover = require "discover"
local measure = require "bench.measure"
local nginx = require "spec.support.nginx"
local peers = require "discover_bench_peers"
local proc = require "spec.support.proc"

local function stream(d)
  local res = d:request { app = "bench", path = "/file", stream = true }
  assert(res.ok, res.why)
  return res
end

local function chunks(d, size)
  local res, got = stream(d), 0
  for chunk in res:chunks() do got = got + #chunk end
  assert(res.ok and got == size, res.why or "cut short")
end

local function save(d, path)
  local ok, why = stream(d):save(path)
  assert(ok, why)
end

local function curl_command(url, path)
  assert(os.execute(("curl --silent --fail --output %s %s"):format(proc.quote(path), proc.quote(url))))
end

return function(settings)
  local mib = settings.count(1024, 128)
  local size, dir = mib * 1024 * 1024, proc.tmpdir()
  proc.shell(("truncate -s %d %s/file"):format(size, proc.quote(dir)))
  local server = nginx.start {
    servers = { h1 = { conf = ("    access_log off; sendfile on; location = /file { root %s; }"):format(dir) } },
  }
  local url = "http://" .. server.h1.addr .. "/file"
  local d = assert(discover.new())
  assert(d:set_node("bench", server.h1.addr, 100))

  -- MB a second.
  local function rate(name, fn)
    return { name, function() return size / 1e6 / measure.seconds(fn) end }
  end
  local figures = measure.rounds(math.min(settings.rounds, 5), {
    rate("raw", function() peers.curl("plain", url, 1) end),
    rate("chunks", function() chunks(d, size) end),
    rate("command", function() curl_command(url, "/dev/null") end),
    rate("save", function() save(d, dir .. "/ours") end),
    rate("command_save", function() curl_command(url, dir .. "/theirs") end),
  })
  d:stop()

  local function row(what, mine, theirs, peer_name)
    return {
      what = ("%s, %d MiB"):format(what, mib), unit = "MB/s", ours = measure.median(figures[mine]),
      peer = measure.median(figures[theirs]), ratio = measure.ratio(figures[mine], figures[theirs]),
      peer_name = peer_name,
    }
  end
  return {
    row("res:chunks()", "chunks", "raw", "libcurl in C, a callback that counts"),
    row("res:chunks()", "chunks", "command", "the command: curl --output /dev/null"),
    row("res:save(path)", "save", "command_save", "the command: curl --output path"),
  }
end
