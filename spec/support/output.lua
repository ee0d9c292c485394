-- output - busted's output in scripts/test: failures in full as they happen, one line of counts at the end.
--
-- The name of the running test is kept in the file $DISCOVER_TEST_CURRENT: after a crash it names the culprit.
return function()
  local busted = require "busted"
  local handler = require "busted.outputHandlers.base"()
  local current = os.getenv "DISCOVER_TEST_CURRENT"

  local function write_current(text)
    if not current then return end
    local file = io.open(current, "w")
    if not file then return end
    file:write(text)
    file:close()
  end

  local function indent(text)
    return "      " .. tostring(text):gsub("\n", "\n      ")
  end

  local function describe(kind, record)
    local where = record.trace and record.trace.short_src and
      (record.trace.short_src .. ":" .. tostring(record.trace.currentline)) or ""
    io.write(("\n    %s: %s  (%s)\n"):format(kind, record.name or "?", where))
    io.write(indent(type(record.message) == "string" and record.message or
      require "pl.pretty".write(record.message or "no message")), "\n")
    if kind == "error" and record.trace and record.trace.traceback then
      io.write(indent(record.trace.traceback), "\n")
    end
    io.flush()
  end

  handler.testStart = function(element)
    write_current(handler.getFullName(element))
    return nil, true
  end

  handler.testFailure = function()
    describe("failed", handler.failures[#handler.failures])
    return nil, true
  end

  handler.testError = function()
    describe("error", handler.errors[#handler.errors])
    return nil, true
  end

  handler.error = function(element)
    -- Errors of tests come here as well.
    if element.descriptor ~= "it" then describe("error", handler.errors[#handler.errors]) end
    return nil, true
  end

  handler.suiteEnd = function()
    write_current ""
    for _, record in ipairs(handler.pendings) do
      io.write(("    skipped: %s  %s\n"):format(record.name, record.message or ""))
    end
    io.write(("counts %d passed %d failed %d skipped\n"):format(handler.successesCount,
      handler.failuresCount + handler.errorsCount, handler.pendingsCount))
    io.flush()
    return nil, true
  end

  busted.subscribe({ "test", "start" }, handler.testStart, { predicate = handler.cancelOnPending })
  busted.subscribe({ "failure", "it" }, handler.testFailure)
  busted.subscribe({ "error", "it" }, handler.testError)
  busted.subscribe({ "error" }, handler.error)
  busted.subscribe({ "failure" }, function(element)
    if element.descriptor ~= "it" then describe("failed", handler.failures[#handler.failures]) end
    return nil, true
  end)
  busted.subscribe({ "suite", "end" }, handler.suiteEnd)

  return handler
end
