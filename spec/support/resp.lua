-- resp - the Redis protocol over a LuaSocket, small enough to be trusted as the specs' other opinion.
local socket = require "socket"

local resp = {}
local methods = {}
local meta = { __index = methods }

-- Connects; returns a connection or nil, message.
function resp.connect(host, port, seconds)
  local s = socket.tcp4()
  s:settimeout(seconds or 5)
  local ok, why = s:connect(host, port)
  if not ok then
    s:close()
    return nil, why
  end
  s:setoption("tcp-nodelay", true)
  return setmetatable({ socket = s }, meta)
end

-- The bytes of one command.
function resp.encode(...)
  local parts = { "*" .. select("#", ...) .. "\r\n" }
  for i = 1, select("#", ...) do
    local word = tostring((select(i, ...)))
    parts[#parts + 1] = "$" .. #word .. "\r\n" .. word .. "\r\n"
  end
  return table.concat(parts)
end

-- One reply. A null is nil, an error nil, "ERR ..."; arrays are lists with a field n (they may have holes); a
-- lost connection nil, "closed" or "timeout".
function methods:read()
  local line, why = self.socket:receive "*l"
  if not line then return nil, why end
  local kind, rest = line:sub(1, 1), line:sub(2)
  if kind == "+" then return rest end
  if kind == "-" then return nil, rest end
  if kind == ":" then return tonumber(rest) end
  if kind == "$" then
    local length = tonumber(rest)
    if length < 0 then return nil end
    local data, lost = self.socket:receive(length + 2)
    if not data then return nil, lost end
    return data:sub(1, -3)
  end
  if kind == "*" then
    local count = tonumber(rest)
    if count < 0 then return nil end
    local list = { n = count }
    for i = 1, count do
      local value, problem = self:read()
      if problem == "closed" or problem == "timeout" then return nil, problem end
      list[i] = value
    end
    return list
  end
  return nil, "not a reply: " .. line
end

function methods:send(...)
  return self.socket:send(resp.encode(...))
end

-- Sends a command and returns its reply, see read().
function methods:call(...)
  local ok, why = self:send(...)
  if not ok then return nil, why end
  return self:read()
end

function methods:timeout(seconds)
  self.socket:settimeout(seconds)
end

function methods:close()
  self.socket:close()
end

return resp
