-- The list of faults in README.md names tests that are there, and every file of this folder is in it.
local proc = require "spec.support.proc"

describe("the list of faults", function()
  local rows = {}
  for line in proc.read_file "spec/faults/README.md":gmatch "[^\n]+" do
    local fault, file, test = line:match "^| ([^|]+) | `([^`]+)` | ([^|]+) |$"
    if fault then rows[#rows + 1] = { fault = fault, file = file, test = test } end
  end

  it("names tests that are there", function()
    assert.is_true(#rows >= 60, #rows .. " rows")
    for _, row in ipairs(rows) do
      local text = proc.read_file(row.file)
      assert.is_not_nil(text, row.file)
      assert.is_truthy(text:find(row.test, 1, true), ("%s has no test '%s'"):format(row.file, row.test))
    end
  end)

  it("has every file of this folder", function()
    for file in proc.shell "ls spec/faults/*_spec.lua":gmatch "%S+" do
      local listed = file:find "list_spec" ~= nil
      for _, row in ipairs(rows) do listed = listed or row.file == file end
      assert.is_true(listed, file .. " has no row in spec/faults/README.md")
    end
  end)
end)
