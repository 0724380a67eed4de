-- Takes a worker out of the group if it holds nothing: what a removed worker held, nobody would ever get.
--
-- KEYS  the stream      ARGV  the group; the worker      Returns 1 if it left. Atomic, so that no entry
-- is delivered to it in between.
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then
  return 0
end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1
