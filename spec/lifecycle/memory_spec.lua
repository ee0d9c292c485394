-- The memory of a Lua state runs out (hosts set limits) at every allocation that Lua makes in the course of a session:
-- an error that can be caught, and with the state's end everything is given back.
local native = require "spec.support.native"
local service = require "spec.support.service"
local ws = require "spec.support.ws"

-- %s: addresses of a service, of one that speaks WebSocket.
local PREPARE = [[
  package.path, package.cpath = %q, %q
  discover = require "discover"
  web, chat = %q, %q
]]

local SESSIONS = {
  ["calls, their hooks and their results"] = [[
    d = discover.new{ log_level = "debug", logger = function() end, calls = { web = { deadline = "2s" } } }
    d:set_node("web", web, 1)
    d:on_event(function() end)
    d:set_route(function(ac) return ac.path end)
    d:set_load_balancer{ next = function(_, nodes) return nodes[1] end, response = function() end }
    local res = d:post("web", "/", { a = { 1, 2, "x" } }, { ["X-A"] = "b" })
    local text = tostring(res) .. res.body .. tostring(res.headers["Content-Type"]) .. #res.trace
    local caller = d:from{ headers = { ["X-Request-Id"] = "1" } }
    res = caller:request{ app = "web", path = "/", query = { a = 1 }, data = discover.form{ b = "c" } }
    local node = d:pick "web"
    if node then node:done(true) end
    local stats = d:stats()
    text = d:stats "prometheus"
    for addr, one in pairs(d:get_app_nodes "web") do text = addr .. one.state end
    d:stop()
  ]],
  ["futures in every state"] = [[
    d = discover.new{ log_level = "off", route = function() end, calls = { web = { max_in_flight = 2, queue = 9 } } }
    d:set_node("web", web, 1)
    local async = d:async()
    local list = {}
    for i = 1, 6 do
      list[i] = async:get("web", "/")
      list[i]:on(function(res) return tostring(res) end)
    end
    coroutine.wrap(function() return list[2]:await() end)()
    list[3]:cancel()
    local stream = async:request{ app = "web", path = "/", stream = true, progress = function() end }
    discover.wait_any(list, 1)
    d:poll{ max = 3 }
    discover.wait_all(list, 1)
    local res = stream:wait(1)
    for piece in res:chunks() do last = piece end
    for i = 1, 3 do async:get("web", "/"):on(function() end) end
    d:stop()
  ]],
  ["streams and uploads"] = [[
    d = discover.new{ log_level = "off" }
    d:set_node("web", web, 1)
    local n = 0
    local function reader() n = n + 1 return n < 4 and ("x"):rep(100) or nil end
    d:request{ method = "POST", app = "web", path = "/", data = reader, progress = function() end }
    d:request{ method = "POST", app = "web", path = "/", data = discover.multipart{ a = "b", c = { data = "d" } } }
    local res = d:request{ app = "web", path = "/", stream = true }
    local part = res:read(2)
    res:close()
    d:stop()
  ]],
  ["a WebSocket"] = [[
    d = discover.new{ log_level = "off" }
    d:set_node("chat", chat, 1)
    local ws, why = d:open("chat", "/echo")
    if not ws then error(why) end
    ws:send "text"
    local text = ws:receive(1)
    ws:on_message(function() end)
    ws:send("data", "binary")
    d:wait(0.01)
    ws:close()
    d:stop()
  ]],
}

describe("#api a Lua state that runs out of memory", function()
  local web, chat

  setup(function()
    web = service.nginx{ ["/"] = "here it is" }
    chat = ws.python()
  end)

  for name, session in pairs(SESSIONS) do
    it("in " .. name .. ": an error, no crash, nothing kept", function()
      local run = native.run(([[
        local prepare = %q
        local session = %q
        local function files()
          -- No pipes: that of popen is among them, with one end or both.
          local pipe, all = io.popen "find /proc/$PPID/fd -type l -printf '%%l\\n' 2>/dev/null", {}
          for line in pipe:lines() do
            if not line:find "pipe:" then all[#all + 1] = line end
          end
          pipe:close()
          return #all, table.concat(all, " ; ")
        end
        local function blocks()
          local one = discover.new()
          local n = one:stats().memory_blocks
          one:stop()
          one = nil
          collectgarbage()
          collectgarbage()
          return n
        end

        -- Its n-th allocation fails, and all after it until the error is caught. Then it may work on, or end.
        local function try(n)
          local s = native.state()
          assert(s:run(prepare .. " return true"))
          s:fail_at(n)
          local ok, why = s:run(session .. " return true")
          local struck = s:fail_at(0)
          if struck and n %% 3 == 0 then s:run "collectgarbage()" end
          if struck and n %% 3 == 1 then s:run "if d then d:poll() d:stop() end" end
          s:close()
          assert(struck or ok == true, why)
          assert(ok == true or why:find "not enough memory" or why:find "nomem" or why:find "memory", why)
          return struck
        end

        try(1000000)
        blocks()
        local before, open = blocks(), files()
        local n, failures = 0, 0
        repeat
          -- Each of the first ones, then some of the others.
          n = n + (n < 400 and 1 or 1 + n %% 5)
          local struck = try(n)
          if struck then failures = failures + 1 end
          local now = blocks()
          if now > before then error(("after %%d: %%d blocks of memory instead of %%d"):format(n, now, before)) end
        until not struck
        local now, which = files()
        assert(now <= open, which)
        print(failures)
        print "done"
      ]]):format(PREPARE:format(package.path, package.cpath, web.addr, chat.addr), session), { timeout = 120 })
      -- What the logger could not be handed is on stderr.
      for line in run.err:gmatch "[^\n]+" do assert.matches("^%S+Z discover %a+ ", line) end
      assert.is_true(run.ok, run.signal)
      assert.is_true(tonumber(run.out:match "%d+") > 50, run.out)
      assert.matches("done\n$", run.out)
    end)
  end
end)
