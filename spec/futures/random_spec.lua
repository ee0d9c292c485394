-- Everything with futures in a random order, also inside their own callbacks: no crash, nothing told twice, no leak.
local lua_run = require "spec.support.lua_run"
local port = require "spec.support.port"
local proc = require "spec.support.proc"
local service = require "spec.support.service"

local ROUNDS = os.getenv "DISCOVER_TEST_LONG" and 100 or 4

describe("#api random futures", function()
  local svc, hole, program

  setup(function()
    svc = service.start()
    hole = port.blackhole()
    program = assert(proc.read_file "spec/futures/random_main.lua")
  end)

  -- Three that every run has, and one of its own; its number is in the message when it fails.
  local seeds = { 1, 2, 3, os.time() % 1000000 }
  for i, seed in ipairs(seeds) do
    it(i < #seeds and "seed " .. seed or "a seed of today", function()
      local run = lua_run(program, { args = { seed, ROUNDS, svc.addr, hole.addr }, timeout = 30 + ROUNDS * 10 })
      assert.equal("", run.err, "seed " .. seed)
      assert.is_true(run.ok, ("seed %d: code %s, signal %s"):format(seed, run.code, run.signal))
      assert.matches("came\ndone\n$", run.out)
    end)
  end
end)
