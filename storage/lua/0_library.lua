#!lua name=nextbest

-- The server-side steps of nextbest. Each is atomic: it takes effect entirely or not at all.
--
-- Fields have one meaning each, in the hash of a decision that waits for outcomes and in the records of the log (which
-- decisioning/log/codec.py describes). The hash has:
--   x where in the log its record is: "<ms after d>", or "<ms after d>:<sequence>" if that is not 0. The header is read
--   from there; once the record is trimmed, the archive has it,
--   cu customer, d decided at (ms), u feedback until (ms), p policy, pl placement, m presentation, s state, w how long
--   contacts matter (ms), os offers joined by ",", f the facts that policies learn from (JSON, if any), and for each offer:
--   o:<offer> "<number> <prior> <c or t> <group>:<goal> <channel>" (c if it counts as a contact, t if transactional),
--   r:<offer>:<outcome> recorded at (ms), rel:<offer> released at (ms),
--   l:<offer> 1 if it was accepted or rejected late,
--   g:<offer> what it has earned (see 1_earned.lua), own:<offer> when an outcome was told that the catalogue declares (ms),
--   hh the household in whose history its contacts are as well, if any (see 8_households.lua),
--   sg signals that held and last, joined by "," (their contacts are taken back with the decision's),
--   z 1 if silence counts as soon as an offer is shown, z:<offer> when it did where that has to be confirmed (ms),
--   e0, e4, ... what the decision expected of four offers from that one on (0 is the first): the propensity and the value
--   of each, float64, NaN for unknown
-- Earlier versions wrote c for cu, k for p, l for pl, n for os and x:<offer> for rel:<offer>. Their decisions may wait
-- for weeks, so they are read as well: see waiting below. They also had h, the header itself (JSON), instead of x, and
-- e:<offer> "<propensity>:<value>" instead of e0, e4, ...: these are still written while processes of another version are
-- there, which would not find the header.
--
-- A hash is stored in one piece, in less than half of the memory, as long as none of its names and values is longer than
-- the server's hash-max-listpack-value (64 bytes unless it is set): hence fours of offers, and no header.

local TERMINAL = { accepted = 'rejected', rejected = 'accepted' }
local REWARD = { accepted = '1', rejected = '0' }
local OLD_NAMES = { cu = 'c', p = 'k', pl = 'l', os = 'n' }

-- Fields of a hash by name; false for those that it does not have.
local function hmget(key, names)
  local values, found = redis.call('HMGET', key, unpack(names)), {}
  for i, name in ipairs(names) do found[name] = values[i] end
  return found
end

-- The same of a waiting decision, whichever version wrote it. The names must contain d and p: every decision has a d,
-- and only those of this version have a p.
local function waiting(decision, names)
  local found = hmget(decision, names)
  if found.d and not found.p then
    for _, name in ipairs(names) do
      local old = OLD_NAMES[name] or string.gsub(name, '^rel:', 'x:')
      -- A step of this version may have added a field of its own since.
      found[name] = found[name] or redis.call('HGET', decision, old)
    end
  end
  return found
end

local EXPECTED_TOGETHER = 4

-- Fields of what was expected of offers, names and values in turn. texts: "<propensity>:<value>" of each, "" if neither is
-- known.
local function expected_fields(texts)
  local fields = {}
  for first = 1, #texts, EXPECTED_TOGETHER do
    local packed = {}
    for i = first, math.min(first + EXPECTED_TOGETHER - 1, #texts) do
      local propensity, value = string.match(texts[i], '^([^:]+):(.+)$')
      packed[#packed + 1] = struct.pack('<dd', tonumber(propensity) or 0 / 0, tonumber(value) or 0 / 0)
    end
    fields[#fields + 1] = 'e' .. (first - 1)
    fields[#fields + 1] = table.concat(packed)
  end
  return fields
end

local function number_text(number)
  if number ~= number then return 'nan' end
  return string.format('%.17g', number)
end

-- What was expected of an offer of a waiting decision, as records tell it. offers: those of the decision, in order.
local function expected_of(decision, offers, offer)
  local place = 0
  for i, one in ipairs(offers) do
    if one == offer then place = i - 1 end
  end
  local within = place % EXPECTED_TOGETHER
  local known = redis.call('HMGET', decision, 'e' .. (place - within), 'e:' .. offer)
  if known[2] or not known[1] then return known[2] or '' end
  local propensity, value = struct.unpack('<dd', known[1], 16 * within + 1)
  if propensity ~= propensity and value ~= value then return '' end
  return number_text(propensity) .. ':' .. number_text(value)
end

-- Where in the log the record of a decision is, as x tells it (see above), and back.
local function position_mark(position, decided_at)
  local ms, sequence = string.match(position, '^(%d+)-(%d+)$')
  local after = string.format('%.0f', tonumber(ms) - tonumber(decided_at))
  return sequence == '0' and after or after .. ':' .. sequence
end

local function marked_position(mark, decided_at)
  local after, sequence = string.match(mark, '^(-?%d+):?(%d*)$')
  return string.format('%.0f-%s', tonumber(decided_at) + tonumber(after), sequence == '' and '0' or sequence)
end

-- The header of a waiting decision, "" if only the archive has it, and when it was decided; false if there is no such
-- decision.
local function header_of(decision, log, id)
  local known = hmget(decision, { 'h', 'd', 'x' })
  if known.h or not known.d then return known.h, known.d end
  if not known.x then return '', known.d end -- it was put back from the archive
  local position, record = marked_position(known.x, known.d), {}
  local entry = redis.call('XRANGE', log, position, position)[1]
  local flat = entry and entry[2] or {}
  for i = 1, #flat, 2 do record[flat[i]] = flat[i + 1] end
  return record.id == id and record.h or '', known.d
end

local function is_released(decision, offer)
  local times = redis.call('HMGET', decision, 'rel:' .. offer, 'x:' .. offer)
  return times[1] or times[2]
end
