-- Redis on a Unix socket: what is different from a port. The other specs of registries run over one too, see
-- spec/support/redis.lua.
local discover = require "discover"
local nodes = require "spec.support.nodes"
local proc = require "spec.support.proc"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

local ADDR = "127.0.0.1:8080"

describe("unix", function()
  local app, open

  before_each(function() app, open = nodes.app(), {} end)
  after_each(function() for _, d in ipairs(open) do d:stop() end end)

  local function keep(d, why)
    assert(d, why)
    open[#open + 1] = d
    return d
  end

  local function start(url, opts)
    opts = opts or {}
    if not opts.logger then opts.log_level = "off" end
    return keep(discover.start(url, app, ADDR, opts))
  end

  it("#core registers, follows, says goodbye", function()
    local r = redis.start{ over = "unix" }
    local d = start(r:url())
    assert.is_true(d:registered())
    assert.same({ [ADDR] = "100" }, r:hash(app))
    assert.equal(("unix://%s?db=15"):format(r.unix), d:stats().registry.target)
    local c = keep(discover.open(r:url(), { calls = { [app] = {} }, log_level = "off" }))
    assert.equal(ADDR .. "/100", nodes.show(c, app))
    d:set_weight(7)
    nodes.await(c, app, ADDR .. "/7")
    d:stop()
    nodes.await(c, app, "")
    assert.same({}, r:keys())
    r:kill()
  end)

  it("the database by either name, user and password in the string or apart, blanks encoded", function()
    local r = redis.start{ over = "unix", acl = { "user svc on >p:w/d ~* &* +@all" } }
    local link = proc.tmpdir() .. "/my redis"
    proc.shell(("ln -s %s %s"):format(proc.quote(r.unix), proc.quote(link)))
    local path = link:gsub(" ", "%%20")
    for _, url in ipairs{ "unix://" .. path .. "?db=3", "unix://" .. path .. "?database=3",
                          "unix://svc:p%3Aw%2Fd@" .. path .. "?db=3" } do
      local d = start(url)
      assert.is_true(d:registered(), url)
      assert(r:cli("SELECT", 3))
      assert.equal("100", r:hash(app)[ADDR])
      r:cli("SELECT", r.db)
      -- As a whole: a search for a short secret may find the random name of a folder.
      local user = url:find "^unix://svc:" and "svc@" or ""
      assert.equal("unix://" .. user .. path .. "?db=3", d:stats().registry.target)
      d:stop()
    end
    local d = start("unix://" .. path .. "?db=3", { username = "svc", password = discover.secret "p:w/d" })
    assert.is_true(d:registered())
    assert.matches("user=svc", r:cli("CLIENT", "LIST"))
    r:kill()
  end)

  it("a socket that is not there, one that nobody serves, one that comes", function()
    local folder = proc.tmpdir()
    local url = "unix://" .. folder .. "/redis.sock?db=15"
    local log = nodes.log()
    local d = start(url, { start_timeout = 0, logger = log.logger })
    local ok, why, code = d:ready(0.3)
    assert.is_nil(ok)
    assert.equal("registry", code)
    assert.matches("no such file or directory", why, 1, true)
    local events = nodes.events(d)
    local r = redis.start{ over = "unix" }
    proc.shell(("ln -s %s %s/redis.sock"):format(r.unix, folder))
    events:wait("registered", 5)
    assert.is_true(d:ready(2))
    -- After a SIGKILL the socket's file is still there.
    r:kill()
    wait.until_true(function() return not d:stats().registry.up end, 5, "it to be missed")
    local c = keep(discover.open(url, { start_timeout = 0, log_level = "off", calls = { other = {} } }))
    ok, why = c:ready(0.3)
    assert.is_nil(ok)
    assert.matches("connection refused", why, 1, true)
    r:start()
    wait.until_true(function() return r:hash(app)[ADDR] end, 5, "the registration")
    assert.is_true(c:ready(5))
    wait.until_true(function() return d:registered() and log:count "is back" > 0 end, 8, "the log line")
    r:kill()
  end)

  it("#core a server that accepts and is mute holds up neither start nor stop", function()
    local r = redis.start{ over = "unix" }
    r:pause()
    local took, d = wait.within(1.5, start, r:url(), { start_timeout = 0.3 })
    assert.is_true(took >= 0.25)
    wait.within(1, d.stop, d)
    r:resume()
    r:kill()
  end)

  it("a path that is no socket is a registry that is down", function()
    local d = start("unix://" .. proc.root() .. "/README.md", { start_timeout = 0 })
    local ok, why, code = d:ready(0.3)
    assert.is_nil(ok)
    assert.equal("registry", code)
    assert.matches("connection refused", why, 1, true)
  end)

  it("shared: one registry for one path, another for another database", function()
    local r = redis.start{ over = "unix" }
    local function client(url)
      assert(keep(discover.open(url, { shared = true, log_level = "off", calls = { web = {} } })):ready(3))
    end
    local function connections() return select(2, r:cli("CLIENT", "LIST"):gsub("name=discover", "")) end
    client(r:url())
    client(r:url())
    wait.until_true(function() return connections() == 2, connections() end, 5, "two connections")
    client(r:url{ db = 3 })
    wait.until_true(function() return connections() == 4, connections() end, 5, "four connections")
    r:kill()
  end)
end)
