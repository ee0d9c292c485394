-- The demo, as a user starts it: it loses no call, and leaves nothing behind.
local build = require "spec.support.build"
local proc = require "spec.support.proc"
local wait = require "spec.support.wait"

describe("scripts/demo", function()
  -- With the build under test; what is in its temporary folder afterwards was forgotten.
  local function demo(option)
    local folder = proc.tmpdir()
    local p = proc.start{ "scripts/demo", "--no-install", option, name = "demo",
      env = { TMPDIR = folder, DISCOVER_BUILD = build.folder } }
    return p, folder
  end

  local function finish(p, folder)
    local code = p:wait(110)
    local out = p:output()
    assert.equal(0, code, out)
    assert.matches("==> cleaned up\n$", out)
    assert.equal("", proc.shell("ls -A " .. folder))
    assert.equal("", proc.shell(("pgrep -f '[%s]%s' || true"):format(folder:sub(1, 1), folder:sub(2))))
    return out
  end

  if os.getenv "DISCOVER_TEST_LOADER" then
    pending "not under sanitizers: it starts Lua by itself"
    return
  end

  it("kills a service and Redis, and no call fails", function()
    local out = finish(demo())
    assert.matches("==> [1-9]%d+ calls, 0 failed\n", out)
    assert.matches("needed another node, 0 failed so far", out)
  end)

  it("--chaos: a proxy, three Sentinels, and no call is lost", function()
    local out = finish(demo "--chaos")
    assert.matches("==> [1-9]%d+ calls, 0 lost\n", out)
  end)

  it("Ctrl-C ends it at once, and cleans up", function()
    local p, folder = demo()
    wait.until_true(function() return p:output():find "share" end, 30, "the first table")
    p:kill "INT"
    local code = p:wait(10)
    assert.not_equal(0, code)
    assert.equal("", proc.shell("ls -A " .. folder))
  end)
end)
