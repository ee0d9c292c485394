-- The list of faults in README.md names tests that are there, and every file of this folder is in it; the table "What
-- happens when" of the project's README names specs that are there.
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

describe('the table "What happens when" of README.md', function()
  it("names specs that are there, in each row", function()
    local part = proc.read_file "README.md":match "\n### What happens when [^\n]*\n(.-)\n##"
    local rows = 0
    for row in part:gmatch "\n| ([^\n]+) |" do
      if row:sub(1, 4) ~= "when" and row:sub(1, 3) ~= "---" then
        local file
        for name in row:match "[^|]*$":gmatch "`(spec/[^`]+)`" do
          file = name
          assert.is_not_nil(proc.read_file(name), name)
        end
        assert.is_not_nil(file, "without a spec: " .. row)
        rows = rows + 1
      end
    end
    assert.is_true(rows >= 25, rows .. " rows")
  end)
end)
