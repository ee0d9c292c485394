-- Encoded answers: what other programs compressed is asked for, decoded, bounded; what is broken says so.
local calls = require "spec.support.calls"
local proc = require "spec.support.proc"
local scripted = require "spec.support.scripted"
local wait = require "spec.support.wait"

local TEXT = ("a line of text that repeats, more or less\n"):rep(400)

local TOOLS = { gzip = "gzip -9c", br = "brotli -9c", zstd = "zstd -qc" }

local function encoded(name, text)
  local path = proc.write_file(proc.tmpdir() .. "/plain", text)
  local out = path .. ".out"
  proc.shell(("%s %s > %s"):format(TOOLS[name], proc.quote(path), proc.quote(out)))
  local bytes = proc.read_file(out)
  assert(bytes and #bytes > 0, name .. " is not there")
  return bytes
end

-- A server that sends these bytes as they are.
local function sends(bytes, lines, last)
  return scripted.http("read_request",
    { "send", ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n"):format(#bytes, lines) .. bytes }, last or "loop")
end

describe("an encoded answer #api", function()
  it("is asked for in every encoding there is, unless the user asks for another", function()
    local server = calls.answering(200, "ok")
    local d = calls.client{ server }
    d:get("svc", "/")
    d:get("svc", "/", { ["accept-encoding"] = "identity" })
    local list = server:requests()
    assert.equal("gzip, br, zstd", list[1].headers["accept-encoding"])
    assert.equal("identity", list[2].headers["accept-encoding"])
  end)

  for name in pairs(TOOLS) do
    it("of " .. name .. " is decoded, whole or in chunks", function()
      local bytes = encoded(name, TEXT)
      local server = sends(bytes, "Content-Encoding: " .. name .. "\r\n")
      local d = calls.client{ server }
      for _ = 1, 2 do
        local res = d:get("svc", "/")
        assert.is_true(res.body == TEXT, tostring(res))
        assert.equal(name, res:header "content-encoding")
      end
      assert.equal(1, server:connections())
    end)

    it("of " .. name .. " counts as decoded for max_body: a bomb is too_large", function()
      local d = calls.client{ sends(encoded(name, ("x"):rep(20000000)), "Content-Encoding: " .. name .. "\r\n") }
      local _, res = wait.within(5, function() return d:request{ app = "svc", path = "/", max_body = 1000000 } end)
      assert.equal("too_large", res.err)
    end)

    it("of " .. name .. " that is broken is protocol", function()
      local good = encoded(name, TEXT)
      local half = math.floor(#good / 2)
      -- zstd: its middle; gzip: its checksum; brotli has none, and libcurl notices no missing end
      local damaged = good:sub(1, half) .. ("\255\0"):rep(math.ceil((#good - half) / 2))
      if name == "gzip" then damaged = good:sub(1, -9) .. ("\0"):rep(4) .. good:sub(-4) end
      if name == "br" then damaged = "\255" .. good:sub(2) end
      local rows = {
        garbage = "this is no compressed text at all, not at all",
        damaged = damaged,
      }
      for what, bytes in pairs(rows) do
        local d = calls.client{ sends(bytes, "Content-Encoding: " .. name .. "\r\n", "close") }
        local res = d:get("svc", "/")
        assert.equal("protocol", res.err, what .. ": " .. tostring(res))
        assert.equal(1, res.attempts)
      end
    end)
  end

  it("of an unknown encoding is protocol", function()
    local d = calls.client{ sends("xyz", "Content-Encoding: x-unknown\r\n") }
    assert.equal("protocol", d:get("svc", "/").err)
  end)

  it("of two encodings, one on the other, is decoded", function()
    local dir = proc.tmpdir()
    proc.write_file(dir .. "/a", TEXT)
    proc.shell(("cd %s && gzip -c a | brotli -c > b"):format(dir))
    local d = calls.client{ sends(proc.read_file(dir .. "/b"), "Content-Encoding: gzip, br\r\n") }
    assert.is_true(d:get("svc", "/").body == TEXT)
  end)
end)
