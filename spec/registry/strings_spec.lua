-- Registry strings in all their spellings, and the rights that a user needs.
local discover = require "discover"
local nodes = require "spec.support.nodes"
local proc = require "spec.support.proc"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

local ADDR = "127.0.0.1:8080"

-- The smallest set of rights, word by word from the README.
local function rights_of(user)
  local text = proc.read_file "README.md":match("ACL SETUSER " .. user .. " on >secret (~hello%*[^\n]+)")
  return (text:gsub("~hello%*", "~web*"))
end
local RIGHTS = rights_of "hello"

describe("#registry strings", function()
  local open, secured

  setup(function()
    open = redis.start{ single = true }
    secured = redis.start{ single = true, acl = { "user svc on >p:w/d@1% " .. RIGHTS } }
  end)

  -- Registers over the string and looks where it went.
  local function goes_to(r, db, registry, opts)
    opts = opts or {}
    opts.start_timeout = opts.start_timeout or 2
    local d = assert(discover.start(registry, "web", ADDR, opts))
    assert.is_true(d:registered(), registry)
    assert(r:cli("SELECT", db))
    assert.same({ [ADDR] = "100" }, r:hash "web")
    d:stop()
    assert.same({}, r:keys())
    r:cli("SELECT", r.db)
  end

  describe("that are good", function()
    for form, db in pairs{
      ["redis://127.0.0.1:%d"] = 0, ["redis://127.0.0.1:%d/"] = 0, ["redis://127.0.0.1:%d/0"] = 0,
      ["redis://127.0.0.1:%d/7"] = 7, ["redis://127.0.0.1:%d?database=7"] = 7, ["redis://127.0.0.1:%d/?database=7"] = 7,
      ["redis://127.0.0.1:%d/7?database=7"] = 7, ["REDIS://127.0.0.1:%d/7"] = 7, ["redis://@127.0.0.1:%d/7"] = 7,
      ["redis://:@127.0.0.1:%d/7"] = 7,
      ["redis://127.0.0.1:%d/7?connectTimeout=500ms&readTimeout=1&maxIdle=9&logSlow=3"] = 7,
      ["redis://127.0.0.1:%d/7?id=1"] = 7, ["127.0.0.1:%d"] = 15, ["127.0.0.1:%d:7"] = 7, ["127.0.0.1:%d::7"] = 7,
      ["127.0.0.1:%d:7:"] = 7, ["127.0.0.1:%d::"] = 15, [":%d"] = 15, [":%d:7"] = 7, ["localhost:%d:7"] = 7,
      ["redis://localhost:%d/7"] = 7, ["redis://:%d/7"] = 7,
    } do
      it(form .. " is database " .. db, function() goes_to(open, db, form:format(open.port)) end)
    end

    it("with a password, in every order", function()
      local r = redis.start{ single = true, password = "pass1" }
      for form, db in pairs{ ["127.0.0.1:%d:pass1:7"] = 7, ["127.0.0.1:%d:7:pass1"] = 7, ["127.0.0.1:%d:pass1"] = 15,
                             ["127.0.0.1:%d::7:pass1"] = 7, ["redis://:pass1@127.0.0.1:%d/7"] = 7 } do
        goes_to(r, db, form:format(r.port))
      end
      goes_to(r, 7, ("redis://127.0.0.1:%d/7"):format(r.port), { password = discover.secret "pass1" })
      goes_to(r, 7, ("redis://:wrong@127.0.0.1:%d/7"):format(r.port), { password = discover.secret "pass1" })
      r:kill()
    end)

    it("with a user, the password percent-encoded or apart, and no more rights than documented", function()
      local r = secured
      local password = "p:w/d@1%"
      goes_to(r, 15, ("redis://svc:p%%3Aw%%2Fd%%401%%25@127.0.0.1:%d/15"):format(r.port))
      goes_to(r, 15, ("redis://127.0.0.1:%d/15"):format(r.port),
        { username = "svc", password = discover.secret(password) })
      local log = nodes.log()
      local registry = ("redis://127.0.0.1:%d/15"):format(r.port)
      local opts = function(more)
        local o = nodes.fast{ username = "svc", password = discover.secret(password), logger = log.logger, ttl = 1,
                              resync = 0.2, heartbeat = 0.2 }
        for k, v in pairs(more) do o[k] = v end
        return o
      end
      local d = assert(discover.start(registry, "web", ADDR, opts{ metadata = { a = "b" } }))
      local c = assert(discover.open(registry, opts{ calls = { web = {} } }))
      nodes.await(c, "web", ADDR .. "/100")
      -- A dead row is removed, by script.
      r:cli("HSET", "web", "10.0.0.1:1", 5)
      wait.until_true(function() return r:cli("HEXISTS", "web", "10.0.0.1:1") == 0 end, 4, "the dead row to go")
      d:set_weight(0)
      nodes.await(c, "web", "", 2)
      d:set_weight(5)
      nodes.await(c, "web", ADDR .. "/5", 2)
      r:cli("HDEL", "web", ADDR)
      wait.until_true(function() return r:hash("web")[ADDR] end, 2, "the heartbeat to mend it")
      d:stop()
      c:stop()
      assert.equal(0, log:count "NOPERM", log:text())
      assert.same({}, r:keys())
    end)

    it("a client's rights are enough to follow and read, metadata included", function()
      local r = redis.start{ acl = { "user low on >p " .. rights_of "watcher" } }
      local log = nodes.log()
      r:add_node("web", "10.0.0.1:1", 5)
      local c = assert(discover.open(r:url{ user = "low", password = "p" },
        { calls = { web = {} }, resync = 0.2, logger = log.logger }))
      assert.equal("10.0.0.1:1/5", nodes.show(c, "web"))
      r:cli("SETEX", "web_10.0.0.2:1", 600, "zone=a")
      r:cli("HSET", "web", "10.0.0.2:1", 7)
      r:cli("PUBLISH", "CH_web", "10.0.0.2:1 7")
      wait.until_true(function()
        local node = c:get_app_nodes "web"["10.0.0.2:1"]
        return node and node.metadata.zone == "a"
      end, 3, "the metadata")
      local reads = c:stats().registry.reads
      wait.until_true(function() return c:stats().registry.reads >= reads + 2 end, 5, "reads")
      assert.matches("name=discover%-messages", r:cli("CLIENT", "LIST"))
      assert.equal(0, #log.records, log:text())
      c:stop()
      r:kill()
    end)

    it("without the right to remove dead rows they stay, and that is said once", function()
      local r = redis.start{ acl = { "user low on >p " .. RIGHTS:gsub("%+eval %+evalsha", "") .. " -hdel" } }
      local log = nodes.log()
      r:cli("HSET", "web", "10.0.0.1:1", 5)
      r:add_node("web", "10.0.0.2:1", 5)
      local c = assert(discover.open(r:url{ user = "low", password = "p" },
        { calls = { web = {} }, ttl = 1, resync = 0.2, heartbeat = 0.2, logger = log.logger }))
      wait.until_true(function()
        c:registered()
        return log:count "dead nodes are left in the registry" == 1
      end, 5, "the log line")
      local reads = c:stats().registry.reads
      wait.until_true(function() return c:stats().registry.reads >= reads + 3 end, 5, "reads")
      assert.equal(1, log:count "dead nodes are left")
      assert.equal(1, r:cli("HEXISTS", "web", "10.0.0.1:1"))
      assert.equal("10.0.0.2:1/5", nodes.show(c, "web"))
      c:stop()
      r:kill()
    end)
  end)

  it("#api empty or nil is no registry", function()
    for i = 1, 2 do
      local d = assert(discover.open(i == 1 and "" or nil))
      assert.equal("none", d:stats().registry.kind)
      assert.equal("app_not_found", d:get("web", "/").err)
      d:set_node("web", ADDR, 5)
      assert.equal(ADDR .. "/5", nodes.show(d, "web"))
      d:stop()
    end
  end)

  describe("#api that are bad", function()
    for text, word in pairs{
      ["redis"] = "bare name", ["myconfig"] = "bare name", ["redis://"] = false, ["redis://h:0"] = "port",
      ["redis://h:70000"] = "port", ["redis://h:x"] = "port", ["redis://h/x"] = "database",
      ["redis://h/-1"] = "database",
      ["redis://h/1?database=2"] = "two different databases", ["redis://h/1?colour=red"] = "colour",
      ["redis://h/1?connectTimeout=soon"] = "connectTimeout", ["h:6379:0"] = "databases 1 to 15",
      ["h:6379:3:4"] = "two parts could be the database", ["h:6379:aaa:bbb"] = "two parts could be the password",
      ["http://h:80"] = "unknown scheme", ["memory://"] = "memory://name",
      ["redis://h:6379/1\n"] = "control characters",
      ["redis://u:p%zz@h:1"] = "hexadecimal", ["redis://user@h:1"] = "without a password",
      ["redis://:pa/ss@h:1"] = false, ["redis://:pa?ss@h:1"] = false, [("x"):rep(9000)] = "8192", ["a b:6379"] = "host",
      ["redis+sentinel://h:1"] = "a master's name", ["redis+sentinel://h,:x/m"] = "host 2 of the list",
      ["redis+cluster://h:1/2"] = "no database but 0", ["redis+cluster://h:1,,"] = "host 2 of the list",
      ["unix://h/x"] = "unix:///run/redis.sock", ["redis://h?ca=/x"] = "rediss:// (TLS) only",
    } do
      if word then
        it((text:sub(1, 40):gsub("%c", ".")), function()
          local d, why, code = discover.open(text)
          assert.is_nil(d)
          assert.equal("invalid", code)
          assert.matches(word, why, 1, true)
          assert.is_nil(why:find("p%zz", 1, true))
        end)
      end
    end

    it("never show a password", function()
      for _, text in ipairs{ "redis://:hunter2/x@h:1", "redis://:hunter2?x@h:1", "redis://u:hunter2@h:99999",
                                 "h:6379:hunter2:zzz",
                             "redis://:hunter2@h:1/x", "redis://:hunter2@h:1?hunter2=1", "http://u:hunter2@h" } do
        local d, why = discover.open(text, { start_timeout = 0 })
        if d then d:stop() else assert.is_nil(why:find("hunter2", 1, true), why) end
      end
    end)

    it("other types raise", function()
      assert.has_error(function() discover.open {} end)
      assert.has_error(function() discover.open(5) end)
      assert.has_error(function() discover.open("memory://x", "opts") end)
    end)
  end)
end)
