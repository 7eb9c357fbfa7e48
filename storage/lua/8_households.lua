-- Contacts of households, each in the bucket of its household, while its members may be in any. So a decision with limits
-- per household reserves there first, and is written only before a time (decide_within). What was reserved is compared with
-- what became of the decision after that: "<bucket> <decision> <household>" is in the bucket's set of reservations until
-- then, scored by when to look. Contacts that cannot be compared stay, so that a limit may be too strict, never exceeded.

-- So long after the time before which a decision must be written does it count as never written.
local NEVER_WRITTEN_MS = 1000

local function members_of(args, first)
  local names = {}
  for i = first, #args do names[args[i]] = true end
  return names
end

-- Reserves contacts of a decision in a household, if its limits leave room for all of them.
-- keys: household, reservations, whole
-- args: note, id, now, history_ms, hold_ms (for which it may still be written), needs whole (see decide), since when attempts
--       at the same id do not count (ms), offers, then as for decide: id, number, prior, scope, checks, expected of each
-- returns {"ok", time before which the decision must be written} | {"limit", offer, ...} | {"lost"}
local function reserve(keys, args)
  local household, reservations, whole = unpack(keys)
  local note, id, now, history_ms, hold_ms, needs_whole, since, count = unpack(args, 1, 8)
  local offers = {}
  if is_lost(whole, needs_whole) then return { 'lost' } end
  for i = 1, tonumber(count) do
    local first = 9 + OFFER_FIELDS * (i - 1)
    local offer, number, prior, scope, checks = unpack(args, first, first + 4)
    offers[i] = parse_offer(number .. ' ' .. prior .. ' ' .. scope)
    offers[i].id, offers[i].checks = offer, checks
  end
  local blocked = stopped(household, offers, tonumber(now), { id = id, since = tonumber(since) })
  if #blocked > 0 then return { 'limit', unpack(blocked) } end
  local keep_ms = tonumber(history_ms)
  redis.call('ZREMRANGEBYSCORE', household, '-inf', string.format('%.0f', tonumber(now) - keep_ms))
  for _, offer in ipairs(offers) do
    -- An earlier attempt at the same own id may have reserved it: the decision will be of this one's time.
    if offer.counts then remember(household, now, member(offer, 'd', id), keep_ms, 'GT') end
  end
  local before = string.format('%.0f', clock('*') + tonumber(hold_ms))
  redis.call('ZADD', reservations, 'GT', before, note)
  return { 'ok', before }
end

-- Tells which contacts of a decision stand, once it is written or will never be.
-- keys: decision, unconfirmed, whole
-- args: id, time before which it had to be written
-- returns {"early"} (also while the bucket has lost decisions that are still to be put back) | {"gone"} | {"here", when to look again ("" if nothing changes by itself), member, ...}
local function standing(keys, args)
  local decision, unconfirmed, whole = unpack(keys)
  local id, before = unpack(args)
  local known = waiting(decision, { 'd', 'p', 'os' })
  if not known.d then
    if clock('*') < tonumber(before) + NEVER_WRITTEN_MS or is_lost(whole, '1') then return { 'early' } end
    return { 'gone' }
  end
  local found = { 'here', redis.call('ZSCORE', unconfirmed, id) or '' }
  for _, offer in ipairs(split(known.os)) do
    local decided = decided_offer(decision, offer)
    if decided.counts and (not is_released(decision, offer) or answers(decision, offer).any) then
      found[#found + 1] = member(decided, 'd', id)
    end
  end
  return found
end

-- Takes away contacts of a decision that do not stand, unless it has been reserved again since.
-- keys: household, reservations
-- args: note, its time as it was read, id, when to look again ("" for never), then each member that stands
-- returns "settled" | "changed"
local function settle_household(keys, args)
  local household, reservations = unpack(keys)
  local note, expected, id, again = unpack(args, 1, 4)
  local due = redis.call('ZSCORE', reservations, note)
  if not due or tonumber(due) ~= tonumber(expected) then return 'changed' end
  local stands = members_of(args, 5)
  for _, name in ipairs(redis.call('ZRANGE', household, 0, -1)) do
    local one = parse_contact(name, 0)
    if one.id == id and not stands[name] then redis.call('ZREM', household, name) end
  end
  if again == '' then redis.call('ZREM', reservations, note) else redis.call('ZADD', reservations, again, note) end
  return 'settled'
end

-- Adds contacts to a household, as far as they are not there, and notes when to compare them with their decision.
-- keys: household, reservations
-- args: note, when to look ("" if that need not be noted), GT if not before a time that is noted already (else CH), how long
--       contacts are kept (ms), then each as time and member
local function keep_in_household(keys, args)
  local household, reservations = unpack(keys)
  local note, due, rule, keep_ms = unpack(args, 1, 4)
  for i = 5, #args, 2 do remember(household, args[i], args[i + 1], tonumber(keep_ms)) end
  if due ~= '' then
    redis.call('ZADD', reservations, rule, due, note)
  else
    -- Whoever is comparing them just now may have looked at the decision before.
    redis.call('ZADD', reservations, 'XX', 'INCR', 1, note)
  end
  return 'ok'
end

-- Adds contacts that no decision reserved in the household, as far as they are not there, and takes away others.
-- keys: household
-- args: how long contacts are kept (ms), contacts, then each as time and member, then members that are gone
local function share(keys, args)
  local household = keys[1]
  local keep_ms, count = unpack(args, 1, 2)
  local first = 3 + 2 * tonumber(count)
  for i = 3, first - 1, 2 do remember(household, args[i], args[i + 1], tonumber(keep_ms)) end
  for i = first, #args do redis.call('ZREM', household, args[i]) end
  return 'ok'
end

-- Gives contacts of decisions other ids, by which nobody finds these, and does not compare them any more.
-- keys: household, reservations
-- args: note, id and other id of each decision
-- returns how many contacts there were
local function disguise(keys, args)
  local household, reservations = unpack(keys)
  local others, count = {}, 0
  for i = 1, #args, 3 do
    redis.call('ZREM', reservations, args[i])
    others[args[i + 1]] = args[i + 2]
  end
  local found = redis.call('ZRANGE', household, 0, -1, 'WITHSCORES')
  for i = 1, #found, 2 do
    local name = found[i]
    local id = parse_contact(name, 0).id or ''
    if others[id] then
      redis.call('ZADD', household, found[i + 1], string.sub(name, 1, #name - #id) .. others[id])
      redis.call('ZREM', household, name)
      count = count + 1
    end
  end
  return count
end
