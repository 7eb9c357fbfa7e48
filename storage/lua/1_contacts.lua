-- What all parts share, and the history of a customer's contacts.

local function split(text)
  local parts = {}
  for part in string.gmatch(text, '[^,]+') do parts[#parts + 1] = part end
  return parts
end

-- What o:<offer> says: {number, prior, whether it counts as a contact, "<group>:<goal>", channel}.
local function parse_offer(text)
  local number, prior, mark, scope, channel = string.match(text, '^(%d+) (%S+) (%a) (%S*) (%S*)$')
  if not number then -- as earlier versions wrote it
    number, prior = string.match(text, '^(%d+) (%S+)')
    scope, channel = ':', ''
  end
  return { number = number, prior = prior, counts = mark == 'c', scope = scope, channel = channel }
end

-- A contact as it stands in the history: "<number>:<group>:<goal>:<kind>:<channel>:<decision>", with a capital letter
-- for offers that do not count.
local function member(offer, kind, id)
  if not offer.counts then kind = string.upper(kind) end
  return offer.number .. ':' .. offer.scope .. ':' .. kind .. ':' .. offer.channel .. ':' .. id
end

-- The score of a contact is the time in ms. The first time counts; with rule 'GT' the last.
local function remember(contact, at, name, keep_ms, rule)
  redis.call('ZADD', contact, rule or 'NX', at, name)
  if redis.call('PTTL', contact) < keep_ms then redis.call('PEXPIRE', contact, string.format('%.0f', keep_ms)) end
end

-- How it is remembered that a signal held: a contact with no offer.
local function signal_member(signal, id)
  return '0:::s:signal/' .. signal .. ':' .. id
end

local function set(text)
  local found = {}
  for _, part in ipairs(split(text)) do found[part] = true end
  return found
end

-- The same as blocked_until in decisioning/contact/limits.py; times are in order.
local function blocked_until(times, most, window_ms, suppress_ms, now)
  local count = #times
  if most < 1 then return 2 ^ 53 end
  if count < most then return nil end
  local ends = times[count - most + 1] + window_ms
  if suppress_ms > 0 then
    for last = count, most, -1 do
      if times[last] - times[last - most + 1] < window_ms then
        ends = math.max(ends, times[last] + suppress_ms)
        break
      end
    end
  end
  if ends > now then return ends end
  return nil
end

-- A check is "<scope><values>|<kinds>|<max>|<window_ms>|<suppress_ms>|<channels>"; scopes are o (numbers of offers),
-- g (groups), l (goals) and a (all); several are separated by ";".
local function parse_check(text)
  local scope, values, kinds, most, window, suppress, channels =
    string.match(text, '^(%a)([^|]*)|(%a+)|(%d+)|(%d+)|(%d+)|(.*)$')
  return { scope = scope, values = set(values), kinds = kinds, most = tonumber(most), window = tonumber(window),
    suppress = tonumber(suppress), channels = channels ~= '' and set(channels) or nil }
end

local function is_counted(check, one)
  if not string.find(check.kinds, one.kind, 1, true) then return false end
  if check.channels and not check.channels[one.channel] then return false end
  return check.scope == 'a' or check.values[one[check.scope]] == true
end

local function parse_contact(name, at)
  local number, group, goal, kind, channel, id = string.match(name, '^(%d+):([^:]*):([^:]*):(%a):([^:]*):(.*)$')
  return { o = number, g = group, l = goal, kind = kind, channel = channel, id = id, at = tonumber(at) }
end

-- The contacts that any of the checks may count. own: the decision, and since when its contacts do not (nil: all count).
local function history(contact, checks, now, own)
  local longest = 0
  for _, check in pairs(checks) do longest = math.max(longest, check.window + check.suppress) end
  local reply = redis.call('ZRANGE', contact, '(' .. string.format('%.0f', now - longest), '+inf', 'BYSCORE', 'WITHSCORES')
  local found = {}
  for i = 1, #reply, 2 do
    local one = parse_contact(reply[i], reply[i + 1])
    local is_own = own and one.id == own.id and one.at >= own.since
    if one.kind and not is_own then found[#found + 1] = one end
  end
  return found
end

-- Which offers must not be decided now. Those that may are added to what is counted for the ones behind them.
-- own: see history
local function stopped(contact, offers, now, own)
  local checks, any, blocked = {}, false, {}
  for _, offer in ipairs(offers) do
    for text in string.gmatch(offer.checks, '[^;]+') do
      checks[text], any = checks[text] or parse_check(text), true
    end
  end
  if not any then return blocked end
  local contacts = history(contact, checks, now, own)
  for _, check in pairs(checks) do
    check.times = {}
    for _, one in ipairs(contacts) do
      if is_counted(check, one) then check.times[#check.times + 1] = one.at end
    end
  end
  for _, offer in ipairs(offers) do
    local free = true
    for text in string.gmatch(offer.checks, '[^;]+') do
      local check = checks[text]
      free = free and not blocked_until(check.times, check.most, check.window, check.suppress, now)
    end
    if not free then
      blocked[#blocked + 1] = offer.id
    elseif offer.counts then
      local one = parse_contact(member(offer, 'd', ''), now)
      for _, check in pairs(checks) do
        if is_counted(check, one) then
          check.times[#check.times + 1] = now
          table.sort(check.times)
        end
      end
    end
  end
  return blocked
end
