-- What outcomes earn. An offer of a waiting decision has g:<offer>, and a record of an outcome g, as soon as one was told that
-- earns: "<before> <after> <since> <place> <placed> <extra> <terminal>" (Earned in decisioning/model/outcome.py). What was
-- counted before is taken back, and what it is after it is counted in its place, both for the time since.

local ANSWER_PLACE = 100
-- Of answers where nothing says what they are worth, although something has been earned by others.
local DEFAULT_WORTH = { accepted = '1 100 0', rejected = '0 100 0' }
-- Outcomes that contacts are remembered by, by their first letters.
local LETTERED = { presented = true, clicked = true, accepted = true, rejected = true }

local function parse_earned(text)
  local after, since, place, placed, extra, terminal =
    string.match(text, '^%S+ (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
  return { after = after, since = since, place = tonumber(place), placed = tonumber(placed), extra = tonumber(extra),
    terminal = terminal }
end

-- The shortest text that is read as the same number.
local function short_number(number)
  local text = string.format('%.15g', number)
  if tonumber(text) == number then return text end
  return string.format('%.17g', number)
end

-- What an offer had earned before, where nothing says it yet: silence, or an answer that was told before outcomes were
-- declared. nil if it cannot be exchanged: an answer that was counted without any silence, for a time that is not kept.
-- silence: when it was counted for the offer ("" if it was not); answer: accepted, rejected or nil, if told in time.
local function first_earned(silence, answer, occurred_at)
  if silence == '' then
    if answer then return nil end
    return { after = '-', since = occurred_at, place = 0, placed = 0, extra = 0, terminal = '-' }
  end
  local placed = answer == 'accepted' and 1 or 0
  return { after = short_number(placed), since = silence, place = answer and ANSWER_PLACE or 0, placed = placed, extra = 0,
    terminal = '-' }
end

-- worth: "<reward> <place> <1 if terminal>" of the outcome; place 0 adds. Returns the new text of g.
local function revise(earned, outcome, worth)
  local reward, place, ends = string.match(worth, '^(%S+) (%d+) (%d)$')
  reward, place = tonumber(reward), tonumber(place)
  local before = earned.after
  if place == 0 then
    earned.extra = earned.extra + reward
  elseif place >= earned.place then
    earned.place, earned.placed = place, reward
  end
  if ends == '1' then earned.terminal = outcome end
  return table.concat({ before, short_number(earned.placed + earned.extra), earned.since, tostring(earned.place),
    short_number(earned.placed), short_number(earned.extra), earned.terminal }, ' ')
end

-- Whether an outcome has a place in the funnel, which a terminal one leaves to no other.
local function has_place(worth)
  local place = string.match(worth, '^%S+ (%d+) %d$')
  return place ~= nil and place ~= '0'
end
