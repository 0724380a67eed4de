-- Makes the queue's consumer group where it is missing, and gives the queue a new name in the same step when
-- anything was lost from it: whoever holds entry ids of the lost queue must see that they prove nothing.
--
-- Lost are entries that are gone, though nobody has acknowledged them, and those that the group was moved past:
-- every entry up to the last delivered one is in somebody's hands. Counts what waits again where the counts are
-- not the queue's.
--
-- KEYS  the stream; the epoch; what waits, by batch; the bytes that wait      ARGV  the group; a new epoch, random
-- Returns the epoch, the lowest entry in anybody's hands ('' for none), the last delivered entry. Atomic, so that
-- no entry id is ever handed out between the two.
local CHUNK = 500

local function parts(id)
  local milliseconds, sequence = id:match('^(%d+)-(%d+)$')
  return tonumber(milliseconds), tonumber(sequence)
end

local function is_above(one, other)
  local a, b = parts(one)
  local c, d = parts(other)
  return a > c or a == c and b > d
end

local function last_delivered()
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local known = {}
    for i = 1, #group, 2 do
      known[group[i]] = group[i + 1]
    end
    if known.name == ARGV[1] then
      return known['last-delivered-id']
    end
  end
end

local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
local epoch = redis.call('GET', KEYS[2])
local length = redis.call('XLEN', KEYS[1])
local counted = tonumber(redis.call('HGET', KEYS[3], '*') or '0')
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
local lowest = redis.call('XPENDING', KEYS[1], ARGV[1])[2] or ''
local last = last_delivered()

local is_skipped = first and not is_above(first[1], last) and first[1] ~= lowest
if is_skipped then
  redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], '0') -- what is in somebody's hands is delivered again, too
  last = '0-0'
end
if not made.err or not epoch or length < counted or is_skipped then
  epoch = ARGV[2]
  redis.call('SET', KEYS[2], epoch)
end
if length == 0 then
  redis.call('DEL', KEYS[4]) -- workers of earlier versions do not count bytes
end
if length ~= counted then
  redis.call('DEL', KEYS[3])
  local start, bytes, found = '-', 0, nil
  repeat
    found = redis.call('XRANGE', KEYS[1], start, '+', 'COUNT', CHUNK)
    for _, entry in ipairs(found) do
      start = '(' .. entry[1]
      bytes = bytes + #(entry[2][4] or '')
      redis.call('HINCRBY', KEYS[3], '*', 1)
      if entry[2][1] == 'batch' then
        redis.call('HINCRBY', KEYS[3], entry[2][2], 1)
      end
    end
  until #found < CHUNK
  redis.call('SET', KEYS[4], bytes)
end
return { epoch, lowest, last }
