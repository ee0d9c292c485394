-- measure - medians of interleaved rounds, and the table they are shown in.
local peers = require "discover_bench_peers"

local measure = { now = peers.now }

local function sorted(list)
  local copy = table.move(list, 1, #list, 1, {})
  table.sort(copy)
  return copy
end

-- The value below which a share p (0..1) of the list lies.
function measure.percentile(list, p)
  local copy = sorted(list)
  return copy[math.max(1, math.ceil(p * #copy))]
end

function measure.median(list)
  local copy = sorted(list)
  local middle = #copy // 2
  if #copy % 2 == 1 then return copy[middle + 1] end
  return (copy[middle] + copy[middle + 1]) / 2
end

-- Seconds that fn(...) takes.
function measure.seconds(fn, ...)
  local start = peers.now()
  fn(...)
  return peers.now() - start
end

-- Runs every function of `variants` ({{name, fn}, ...}; fn returns its figure) once per round, in turns and in another
-- order each round; the first round only warms up. Returns {name = {figures}}.
function measure.rounds(count, variants)
  local figures = {}
  for _, variant in ipairs(variants) do figures[variant[1]] = {} end
  for round = 0, count do
    for i = 1, #variants do
      local variant = variants[(i + round) % #variants + 1]
      collectgarbage()
      local figure = variant[2]()
      if round > 0 then figures[variant[1]][round] = figure end
    end
  end
  return figures
end

-- The median of the ratios of two lists, round by round.
function measure.ratio(ours, theirs)
  local list = {}
  for i = 1, #ours do list[i] = ours[i] / theirs[i] end
  return measure.median(list)
end

local function number(value)
  if not value then return "" end
  if value >= 100 then return ("%.0f"):format(value) end
  if value >= 10 then return ("%.1f"):format(value) end
  return ("%.2f"):format(value)
end

local COLUMNS = { "what", "unit", "ours", "peer", "ratio", "target", "", "peer is" }

local function cells(row)
  return {
    row.what, row.unit, number(row.ours), number(row.peer), number(row.ratio), row.target and row.target.text or "",
    row.target and (row.ok and "ok" or "MISS") or "", row.peer_name or "",
  }
end

-- Says for each row whether it meets its target: {value=, of="ours"|"ratio", text=}; smaller is better.
function measure.judge(rows)
  for _, row in ipairs(rows) do
    if row.target then row.ok = row[row.target.of] <= row.target.value end
  end
  return rows
end

function measure.print_table(rows)
  local lines, width = { COLUMNS }, { 1, 1, 1, 1, 1, 1, 1, 1 }
  for _, row in ipairs(rows) do lines[#lines + 1] = cells(row) end
  for _, line in ipairs(lines) do
    for i, text in ipairs(line) do width[i] = math.max(width[i], #text) end
  end
  for _, line in ipairs(lines) do
    local out = {}
    for i, text in ipairs(line) do
      local numeric = i >= 3 and i <= 5
      out[i] = ("%" .. (numeric and "" or "-") .. width[i] .. "s"):format(text)
    end
    print((table.concat(out, "  "):gsub("%s+$", "")))
  end
end

-- { at_most(value, "ratio", "<= 1.10 x") }
function measure.at_most(value, of, text)
  return { value = value, of = of or "ours", text = text or ("<= " .. value) }
end

return measure
