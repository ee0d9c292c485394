-- nghttpd - nghttp2's own server, HTTP/2 only: with TLS, or by prior knowledge.
--
--   local s = nghttpd.start{ cert = certs.server, client_cert = true }     -- without cert: no TLS
--   s.addr  s.port  s:kill()
--
-- GET and HEAD of /hello answer "hello"; a POST is answered with its own body. client_cert: it wants a certificate.
local port = require "spec.support.port"
local proc = require "spec.support.proc"
local wait = require "spec.support.wait"

local nghttpd = {}
local methods = {}
local meta = { __index = methods }

function nghttpd.start(options)
  options = options or {}
  local dir, number = proc.tmpdir(), options.port or port.free()
  proc.write_file(dir .. "/hello", "hello")
  local words = { "nghttpd", "--address=127.0.0.1", "--htdocs=" .. dir, "--echo-upload", name = "nghttpd" }
  if options.client_cert then words[#words + 1] = "--verify-client" end
  if not options.cert then words[#words + 1] = "--no-tls" end
  words[#words + 1] = tostring(number)
  if options.cert then
    words[#words + 1], words[#words + 2] = options.cert.key, options.cert.cert
  end
  local s = setmetatable({ port = number, host = "127.0.0.1", addr = "127.0.0.1:" .. number }, meta)
  s.p = proc.start(words)
  local ok = wait.poll(function() return not s.p:alive() or port.listening(number) end, 10)
  assert(ok and s.p:alive(), "nghttpd does not start:\n" .. s.p:output())
  return s
end

function methods:kill()
  self.p:destroy()
end

return nghttpd
