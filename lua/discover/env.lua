--- discover.env - configuration from the environment, and the start without any.
local core = require "discover.core"

local env = {}

local PREFIX = "discover_"

-- What was given may be long and hold anything: the sentence stays one line.
local function invalid(...)
  local sentence = string.format(...):gsub("%c", "?")
  if #sentence > 300 then sentence = sentence:sub(1, 297) .. "..." end
  return nil, "invalid: " .. sentence, "invalid"
end

local function check_type(value, expected, what, level)
  if type(value) ~= expected then
    error(("%s: %s expected, got %s"):format(what, expected, type(value)), (level or 1) + 1)
  end
end

--- secret(name) -> secret | nil, msg, code: the value of an environment variable.
function env.secret(name)
  check_type(name, "string", "secret_from_env: name", 2)
  local value = os.getenv(name)
  if not value then return invalid("the environment variable %s is not set", name) end
  return core.secret(value)
end

-- {registry = "...", calls = {...}, ["calls_auth"] = ...} of all DISCOVER_*, lower-case but for app names. Of two
-- spellings of a name the one in capitals wins.
local function collect(vars)
  local found, spelling, apps = {}, {}, {}
  for name, value in pairs(vars) do
    check_type(name, "string", "from_env: a name", 3)
    local lower = name:lower()
    if lower:sub(1, #PREFIX) == PREFIX then
      check_type(value, "string", "from_env: " .. name, 3)
      local key = lower:sub(#PREFIX + 1)
      if key:sub(1, 6) == "calls_" and #key > 6 then
        apps[name:sub(#PREFIX + 7)] = value
      elseif not spelling[key] or name < spelling[key] then
        found[key], spelling[key] = value, name
      end
    end
  end
  return found, apps
end

local function whole(text, name)
  local number = text:match "^%s*(-?%d+)%s*$"
  if not number or #number > 9 then return invalid("%s: a whole number expected, got \"%s\"", name, text) end
  return tonumber(number)
end

local function read_calls(text, apps)
  local calls = {}
  if text and text ~= "" then
    local value, why = core.json_decode(text)
    if value == nil then return invalid("DISCOVER_CALLS: %s", why:gsub("^invalid: ", "")) end
    if type(value) ~= "table" or getmetatable(value) then
      return invalid "DISCOVER_CALLS: a JSON object of call strings expected"
    end
    for app, call in pairs(value) do
      if type(call) ~= "string" and type(call) ~= "number" then
        return invalid("DISCOVER_CALLS: %s: a call string expected", app)
      end
      calls[app] = tostring(call)
    end
  end
  for app, call in pairs(apps) do calls[app] = call end
  for app, call in pairs(calls) do
    local config, why = core.parse_call(call)
    if not config then return invalid("DISCOVER_CALLS: %s: %s", app, (why:gsub("^invalid: ", ""))) end
    calls[app] = config
  end
  return calls
end

local function text_or_nil(text)
  if text ~= "" then return text end
end

--- read([vars]) -> registry or nil, app or nil, opts, extra | nil, msg, code; see discover.from_env.
function env.read(vars)
  if vars ~= nil then check_type(vars, "table", "from_env: argument", 2) end
  local found, apps = collect(vars or core.environ())
  local opts, why, code = {}
  if text_or_nil(found.weight) then
    opts.weight, why, code = whole(found.weight, "DISCOVER_WEIGHT")
    if why then return nil, why, code end
  end
  if text_or_nil(found.callretrytimes) then
    local times
    times, why, code = whole(found.callretrytimes, "DISCOVER_CALLRETRYTIMES")
    if why then return nil, why, code end
    -- As ever: nothing and less mean the default.
    if times > 0 then opts.call_retry_times = times end
  end
  local calls
  calls, why, code = read_calls(found.calls, apps)
  if not calls then return nil, why, code end
  if next(calls) then opts.calls = calls end
  local extra = { listen = text_or_nil(found.listen), ip_prefix = text_or_nil(found.ipprefix) }
  return found.registry, text_or_nil(found.app), opts, extra
end

-- "host:port", "[v6]:port", ":port" or "port".
local function parse_listen(text)
  local host, port = text:match "^%[(.-)%]:(%d+)$"
  if not host then host, port = text:match "^([^:]*):(%d+)$" end
  if not host then host, port = "", text:match "^%d+$" end
  port = tonumber(port)
  if not port or port > 65535 then return invalid("listen: host:port or port expected, got \"%s\"", text) end
  return host, port
end

-- The address to announce, by the older rules: what is listened on if others can reach it, else what begins with the
-- prefix, else the last global IPv4 address that is not Docker's. With none of them, this machine for itself.
local function choose_ip(host, prefix)
  if core.host_is_global(host) then return host end
  local list, why, code = core.host_list()
  if not list then return nil, why, code end
  local last
  for _, one in ipairs(list) do
    if prefix and one.ip:sub(1, #prefix) == prefix then return one.ip end
    if one.global and not one.ip:find ":" and one.ip:sub(1, 7) ~= "172.17." then last = one.ip end
  end
  return last or "127.0.0.1"
end

local STRINGS = { registry = true, app = true, listen = true, ip_prefix = true }

-- What the environment says, overridden by opts; own keys apart from those of start().
local function merge(opts)
  local registry, app, settings, extra = env.read()
  if type(settings) ~= "table" then return nil, app, settings end
  local own = { registry = registry, app = app, listen = extra.listen, ip_prefix = extra.ip_prefix }
  settings.signals = true
  for key, value in pairs(opts or {}) do
    if STRINGS[key] then
      check_type(value, "string", "easy_start: option '" .. key .. "'", 3)
      own[key] = value
    elseif key == "calls" and type(value) == "table" then
      settings.calls = settings.calls or {}
      for name, call in pairs(value) do settings.calls[name] = call end
    else
      settings[key] = value
    end
  end
  return own, settings
end

--- easy_start(opts, default_registry) -> d, ip, port | nil, msg, code; see discover.easy_start.
function env.easy_start(opts, default_registry)
  if opts ~= nil then check_type(opts, "table", "easy_start: argument", 2) end
  local own, settings, code = merge(opts)
  if not own then return nil, settings, code end
  if not own.app or own.app == "" then return invalid "easy_start: no app: give opts.app or set DISCOVER_APP" end
  local host, port = parse_listen(own.listen or "0")
  if not host then return nil, port, "invalid" end
  local free, ip, why, d
  free, why, code = core.host_probe_port(host, port)
  if not free then return nil, why, code end
  ip, why, code = choose_ip(host, own.ip_prefix)
  if not ip then return nil, why, code end
  local addr = (ip:find ":" and "[%s]:%d" or "%s:%d"):format(ip, free)
  local known
  known, d, why, code = pcall(core.start, own.registry or default_registry, own.app, addr, settings)
  if not known then -- what it raises is about the caller's table
    local text = d:gsub("^.-bad argument #%d+ to '[^']*'", "bad argument #1 to 'easy_start'")
    error(text:gsub("known: ", "known: app, ip_prefix, listen, registry, ", 1), 3)
  end
  if not d then return nil, why, code end
  return d, ip, free
end

return env
