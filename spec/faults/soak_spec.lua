-- scripts/soak: a short one, from its first line to its verdict.
local json = require "dkjson"
local lua_run = require "spec.support.lua_run"
local proc = require "spec.support.proc"

local function run(...)
  local p = proc.start{ proc.root() .. "/scripts/soak", (...), (select(2, ...)), name = "soak",
                        env = { DISCOVER_BUILD = lua_run.build() } }
  return p, p:wait(60)
end

describe("scripts/soak", function()
  it("keeps 64 calls in flight while all breaks: no wrong answer, nothing left", function()
    if _VERSION ~= "Lua 5.4" or os.getenv "DISCOVER_TEST_LOADER" then
      return pending "it is for Lua 5.4, and measures memory that a sanitizer spends"
    end
    local p, code = run("0.25", "--json")
    local text = p:output()
    assert.equal(0, code, text)
    local lines = {}
    for line in text:gmatch "[^\n]+" do lines[#lines + 1] = assert(json.decode(line), line) end
    local last, calls = lines[#lines], 0
    for i = 1, #lines - 1 do calls = calls + lines[i].calls end
    assert.is_true(last.total and last.ok, text)
    assert.equal(0, last.wrong)
    assert.equal(0, last.left_over)
    assert.is_true(last.calls >= calls and calls > 100, text)
    assert.matches("kill %-9 of a service.*FLUSHALL", text)
  end)

  it("says what it does not understand", function()
    local p, code = run "fast"
    assert.equal(2, code)
    assert.equal("soak: 'fast' is neither minutes (as 30 or 0.5) nor --json\n", (p:output()))
  end)
end)
