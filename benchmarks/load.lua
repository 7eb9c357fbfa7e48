-- Requests for wrk. Arguments: mode (noop | decide | large | collect | feedback | batches), API key, customers, placement, seed, file.
--   large     decides with a context of some 16 KB
--   collect   decides, and writes "<decision> <offer>" to the file for each offer that was decided
--   feedback  reads such a file, and tells of each an outcome
--   batches   the same, so many outcomes in a request as the argument "placement" says
-- All ids have a fixed length, so every request of a mode has the same Content-Length. The first few answers that are no
-- success are printed, after an exclamation mark. A run of feedback, or batches, ends early when all outcomes have been told.

local mode, customers, placement, file
local head, items, at
local NOTHING = 'GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n'
local outcomes = { 'accepted', 'rejected' }

local CONTEXT = '{"reason":"browse","channel_state":"logged-in","pages":["/home","/cards","/cards/%04d"],' ..
  '"basket":{"items":%02d,"total":%06.2f},"answers":{"moving_house":false,"satisfied":true},' ..
  '"device":"mobile","mood":"neutral","visit":"v%07d"%s}'
local more = ''
local QUESTION = '{"customer_id":"c%06d","placement":"%s","context":%s}'

threads = {}
exhausted = 0

local MOST_TOLD = 5
local told = 0

local function tell_failure(status, answer)
  if status >= 400 and told < MOST_TOLD then
    told = told + 1
    io.write(string.format('\n! %d %s\n', status, string.gsub(answer, '%s+', ' ')))
  end
end

function response(status, headers, answer)
  tell_failure(status, answer)
end

function setup(thread)
  threads[#threads + 1] = thread
end

local function question()
  local context = string.format(CONTEXT, math.random(0, 9999), math.random(10, 99), 100 + math.random() * 800,
    math.random(0, 9999999), more)
  return string.format(QUESTION, math.random(0, customers - 1), placement, context)
end

local function outcome()
  at = at + 1
  return string.format('{"decision_id":"%s","offer_id":"%s","outcome":"%s"}', items[at][1], items[at][2],
    outcomes[math.random(2)])
end

local each = 1

local function batch()
  local found = {}
  for number = 1, each do found[number] = outcome() end
  return '{"items":[' .. table.concat(found, ',') .. ']}'
end

local body

function init(args)
  local key = args[2]
  mode, customers, placement, file = args[1], tonumber(args[3]), args[4], args[6]
  math.randomseed(tonumber(args[5]))
  local path = '/v1/decisions'
  body = question
  if mode == 'noop' then
    path = '/v1/noop'
  elseif mode == 'large' then
    local notes = {}
    for number = 1, 150 do notes[number] = string.format('{"id":"%04d","text":"%s"}', number, string.rep('n', 80)) end
    more = ',"notes":[' .. table.concat(notes, ',') .. ']'
  elseif mode == 'collect' then
    local out = io.open(file, 'w')
    out:setvbuf('full')
    response = function(status, headers, answer)
      tell_failure(status, answer)
      -- An answer that was late takes no feedback: it is not in the log.
      if status == 200 and not string.find(answer, '"feedback_until":null', 1, true) then
        local decision = string.match(answer, '"decision_id":"([^"]+)"')
        for offer in string.gmatch(answer, '"offer_id":"([^"]+)"') do out:write(decision, ' ', offer, '\n') end
        out:flush()
      end
    end
  elseif mode == 'feedback' or mode == 'batches' then
    path, body, items, at = '/v1/feedback', outcome, {}, 0
    if mode == 'batches' then path, body, each = '/v1/feedback/batch', batch, tonumber(placement) end
    for line in io.lines(file) do
      local decision, offer = string.match(line, '^(%S+) (%S+)$')
      if decision then items[#items + 1] = { decision, offer } end
    end
    if #items < each then error('there are too few decided offers in the file') end
  end
  head = string.format('POST %s HTTP/1.1\r\nHost: localhost\r\nX-API-Key: %s\r\nContent-Type: application/json\r\n' ..
    'Content-Length: %d\r\n\r\n', path, key, #body())
end

function request()
  if items and at + each > #items then
    -- What other connections still send before this takes effect must tell nothing twice.
    exhausted = 1
    wrk.thread:stop()
    return NOTHING
  end
  return head .. body()
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('\n{"requests":%d,"duration_us":%d,"p50_us":%d,"p95_us":%d,"p99_us":%d,"p999_us":%d,' ..
    '"errors":%d,"exhausted":%d}\n', summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(95), latency:percentile(99), latency:percentile(99.9),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout, threads[1]:get('exhausted')))
end
