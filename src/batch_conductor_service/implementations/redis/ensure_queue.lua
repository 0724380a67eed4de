-- Makes the queue's consumer group where it is missing, and names the queue's new life in the same step:
-- whoever holds entry ids of the old life must see that they prove nothing any more.
--
-- KEYS  the stream; the epoch; what waits, by batch      ARGV  the group; a new epoch, random
-- Returns the epoch. Atomic, so that no entry id is ever handed out between the two.
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
local epoch = redis.call('GET', KEYS[2])
if not made.err or not epoch then
  epoch = ARGV[2]
  redis.call('SET', KEYS[2], epoch)
end
if redis.call('XLEN', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[3]) -- counts of entries that were lost, if any
end
return epoch
