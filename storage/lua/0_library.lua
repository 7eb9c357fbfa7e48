#!lua name=nextbest

-- The server-side steps of nextbest. Each is atomic: it takes effect entirely or not at all.
--
-- Fields have one meaning each, in the hash of a decision that waits for outcomes and in the records of the log (which
-- decisioning/log/codec.py describes). The hash has:
--   h header of its record (JSON), cu customer, d decided at (ms), u feedback until (ms), p policy, pl placement,
--   m presentation, s state, w how long contacts matter (ms), os offers joined by ",", f the facts that policies learn
--   from (JSON, if any), and for each offer:
--   o:<offer> "<number> <prior> <c or t> <group>:<goal> <channel>" (c if it counts as a contact, t if transactional),
--   e:<offer> "<propensity>:<value>" as the decision expected them,
--   r:<offer>:<outcome> recorded at (ms), rel:<offer> released at (ms),
--   l:<offer> 1 if it was accepted or rejected late,
--   z 1 if silence counts as soon as an offer is shown, z:<offer> when it did where that has to be confirmed (ms)
-- Earlier versions wrote c for cu, k for p, l for pl, n for os and x:<offer> for rel:<offer>. Their decisions may wait
-- for weeks, so they are read as well: see waiting below.

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

local function is_released(decision, offer)
  local times = redis.call('HMGET', decision, 'rel:' .. offer, 'x:' .. offer)
  return times[1] or times[2]
end
