-- Names the data that the server has: one name for as long as nothing can have been lost or replaced.
--
-- Another process, or one that took over from another primary, may lack the last that was acknowledged. A
-- first replica gives the server a new replication id but no second one, and a server that had no replica for
-- long forgets the second: neither changes its data. So the name is kept with what it was given for.
--
-- KEYS  the name      ARGV  a new name, random
-- Returns the name, or '' for a replica: of its data nobody knows how old they are.
local NO_SECOND = string.rep('0', 40)
local info = redis.call('INFO', 'server') .. redis.call('INFO', 'replication')
if not info:find('role:master', 1, true) then
  return ''
end
local run, second = info:match('run_id:(%w+)'), info:match('master_replid2:(%w+)') or NO_SECOND
local known = redis.call('HMGET', KEYS[1], 'run', 'second', 'name')
if known[3] and known[1] == run and (second == NO_SECOND or second == known[2]) then
  return known[3]
end
local kept = redis.pcall('HSET', KEYS[1], 'run', run, 'second', second, 'name', ARGV[1])
if type(kept) ~= 'table' or not kept.err then
  return ARGV[1]
elseif kept.err:find('OOM', 1, true) then
  return run .. ':' .. second -- there is no room for a name; this one serves until there is
end
return kept
