-- helper - loaded by busted before the specs (see .busted): cleans up after every spec file, whatever happened in it.
local busted = require "busted"
local proc = require "spec.support.proc"

local function clean()
  collectgarbage()
  proc.cleanup()
  return nil, true
end

busted.subscribe({ "file", "end" }, clean)
busted.subscribe({ "exit" }, clean)
