-- certs - a small public-key infrastructure of the specs' own, made by the openssl command once per run.
--
--   local certs = require "spec.support.certs".make()
--
--   certs.ca                          the authority everybody here trusts      (a path, as all of these)
--   certs.foreign_ca                  one that nobody trusts
--   certs.server.cert, .key           localhost, node.test, 127.0.0.1, ::1
--   certs.named.cert, .key            only for the name node.test
--   certs.wrong.cert, .key            only for the name other.test
--   certs.expired.cert, .key          as `server`, ended yesterday
--   certs.foreign.cert, .key          as `server`, signed by foreign_ca
--   certs.self_signed.cert, .key      as `server`, signed by itself
--   certs.client.cert, .key           a client's, signed by ca
--   certs.encrypted_key               the client's key behind a pass phrase
local proc = require "spec.support.proc"

local certs = {}
local made

local ALL = "DNS:localhost,DNS:node.test,IP:127.0.0.1,IP:::1"

local function run(folder, command)
  local output = proc.shell(("cd %s && { %s; } 2>&1 && echo fine"):format(proc.quote(folder), command))
  assert(output:find "fine$", command .. "\n" .. output)
end

-- A key, and a certificate that signs itself.
local function authority(folder, name)
  run(folder, ("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout %s.key -out %s.pem "
    .. "-days 30 -subj /CN=%s -addext basicConstraints=critical,CA:TRUE"):format(name, name, name))
  return folder .. "/" .. name .. ".pem"
end

-- A certificate signed by `ca` with the given names; `days` may be negative.
local function leaf(folder, name, ca, names, days)
  proc.write_file(folder .. "/" .. name .. ".ext", (names and "subjectAltName=" .. names .. "\n" or "")
    .. "basicConstraints=critical,CA:FALSE\n")
  run(folder, ("openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout %s.key -out %s.csr "
    .. "-subj /CN=%s"):format(name, name, name))
  run(folder, ("openssl x509 -req -in %s.csr -CA %s.pem -CAkey %s.key -set_serial %d -days %d -extfile %s.ext "
    .. "-out %s.pem"):format(name, ca, ca, #name + 1000, days or 30, name, name))
  return { cert = folder .. "/" .. name .. ".pem", key = folder .. "/" .. name .. ".key" }
end

local function self_signed(folder, name, names)
  run(folder, ("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout %s.key -out %s.pem "
    .. "-days 30 -subj /CN=%s -addext subjectAltName=%s"):format(name, name, name, names))
  return { cert = folder .. "/" .. name .. ".pem", key = folder .. "/" .. name .. ".key" }
end

-- Makes them at the first call of a process; the folder goes with proc.cleanup().
function certs.make()
  if made then return made end
  local folder = proc.tmpdir()
  made = { folder = folder, ca = authority(folder, "ca"), foreign_ca = authority(folder, "foreign_ca") }
  made.server = leaf(folder, "server", "ca", ALL)
  made.named = leaf(folder, "named", "ca", "DNS:node.test")
  made.wrong = leaf(folder, "wrong", "ca", "DNS:other.test")
  made.expired = leaf(folder, "expired", "ca", ALL, -1)
  made.foreign = leaf(folder, "foreign", "foreign_ca", ALL)
  made.self_signed = self_signed(folder, "self_signed", ALL)
  made.client = leaf(folder, "client", "ca")
  made.encrypted_key = folder .. "/encrypted.key"
  run(folder, "openssl ec -in client.key -aes128 -passout pass:secret -out encrypted.key")
  return made
end

return certs
