-- http - HTTP/1.1 as the specs speak it themselves: one request on a connection of its own, nothing hidden.
local socket = require "socket"

local http = {}

-- Sends a request and returns status, body, headers (lower-case names); nil, message.
function http.request(addr, method, path, body, headers, seconds)
  local host, port = addr:match "^(.*):(%d+)$"
  local s = socket.tcp4()
  s:settimeout(seconds or 10)
  local function fail(why)
    s:close()
    return nil, why
  end
  local ok, why = s:connect(host, tonumber(port))
  if not ok then return fail(why) end
  local lines = { method .. " " .. path .. " HTTP/1.1", "Host: " .. addr, "Connection: close" }
  if body then lines[#lines + 1] = "Content-Length: " .. #body end
  for name, value in pairs(headers or {}) do lines[#lines + 1] = name .. ": " .. value end
  ok, why = s:send(table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or ""))
  if not ok then return fail(why) end
  local text, problem, partial = s:receive "*a"
  s:close()
  text = text or partial
  local head, rest = text:match "^(.-\r\n)\r\n(.*)$"
  if not head then return nil, problem or "no answer" end
  local answer = {}
  for name, value in head:gmatch "([^:\r\n]+):%s*([^\r\n]*)\r\n" do answer[name:lower()] = value end
  if (answer["transfer-encoding"] or ""):find "chunked" then
    local parts, at = {}, 1
    while true do
      local first, last, size = rest:find("^(%x+)[^\r\n]*\r\n", at)
      if not first or tonumber(size, 16) == 0 then break end
      parts[#parts + 1] = rest:sub(last + 1, last + tonumber(size, 16))
      at = last + 1 + tonumber(size, 16) + 2
    end
    rest = table.concat(parts)
  end
  return tonumber(head:match "^HTTP/%d%.%d (%d+)"), rest, answer
end

function http.get(addr, path, headers)
  return http.request(addr, "GET", path, nil, headers)
end

function http.post(addr, path, body, headers)
  return http.request(addr, "POST", path, body or "", headers)
end

return http
