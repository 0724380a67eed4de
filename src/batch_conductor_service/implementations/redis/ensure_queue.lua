-- Makes the queue's consumer group where it is missing, and names the queue's new life in the same step:
-- whoever holds entry ids of the old life must see that they prove nothing any more. Counts what waits anew
-- where the counts are not the queue's: some of either were lost, or come from an earlier version.
--
-- KEYS  the stream; the epoch; what waits, by batch      ARGV  the group; a new epoch, random
-- Returns the epoch. Atomic, so that no entry id is ever handed out between the two.
local CHUNK = 500
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
local epoch = redis.call('GET', KEYS[2])
if not made.err or not epoch then
  epoch = ARGV[2]
  redis.call('SET', KEYS[2], epoch)
end
if redis.call('XLEN', KEYS[1]) == tonumber(redis.call('HGET', KEYS[3], '*') or '0') then
  return epoch
end
redis.call('DEL', KEYS[3])
local start, found = '-', nil
repeat
  found = redis.call('XRANGE', KEYS[1], start, '+', 'COUNT', CHUNK)
  for _, entry in ipairs(found) do
    start = '(' .. entry[1]
    redis.call('HINCRBY', KEYS[3], '*', 1)
    if entry[2][1] == 'batch' then
      redis.call('HINCRBY', KEYS[3], entry[2][2], 1)
    end
  end
until #found < CHUNK
return epoch
