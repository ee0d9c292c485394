-- main - runs soak.lua and clears up whatever came of it.
--
--   main.lua <minutes> [json]
local proc = require "spec.support.proc"

local ok, well = xpcall(dofile, debug.traceback, "scripts/soak.d/soak.lua")
if not ok then io.stderr:write("soak: ", tostring(well), "\n") end
-- Without it Lua would wait for the processes at its end.
proc.cleanup()
os.exit(ok and well)
