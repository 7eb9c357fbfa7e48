#!lua name=nextbest

-- The server-side steps of nextbest. Each is atomic: it takes effect entirely or not at all.
-- A decision that waits for outcomes is a hash:
--   h header of its record, c customer, d decided at (ms), u feedback until (ms), k policy, l placement,
--   m presentation, s state, w how long contacts matter (ms), n offers joined by ",",
--   o:<offer> "<number> <prior> <c or t> <group>:<goal> <channel>" (c if it counts as a contact, t if transactional),
--   e:<offer> "<propensity>:<value>" as the decision expected them, f the facts that policies learn from (JSON, if any),
--   r:<offer>:<outcome> recorded at (ms), x:<offer> released at (ms)
-- Records of the log are described in decisioning/log/records.py.

local TERMINAL = { accepted = 'rejected', rejected = 'accepted' }
local REWARD = { accepted = '1', rejected = '0' }
