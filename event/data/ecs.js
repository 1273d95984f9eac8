// Prints the field list of ECS as `README.md` tells: node ecs.js PATH/OF/ecs_flat.js
const { EcsFlat } = require(require('path').resolve(process.argv[2]));

const DROPPED = [
  /^(data_stream|device|dll|dns|email|faas|file|package|registry|tls|volume|vulnerability)\./,
  /^process\.(parent|previous|entry_leader|group_leader|session_leader)\./,
  /^threat\.(enrichments|indicator)\./,
  /\.(elf|macho|pe|x509|code_signature)\./,
];

const value = ({ name, expected_event_types: types }) => (types ? `${name}=${types.join(',')}` : name);

for (const name of Object.keys(EcsFlat).sort()) {
  if (DROPPED.some((rule) => rule.test(name + '.'))) continue;
  const { type, normalize, allowed_values, expected_values } = EcsFlat[name];
  const values = (allowed_values ?? []).map(value).concat(expected_values ?? []);
  const columns = [name, type + (normalize.includes('array') ? '[]' : '')];
  if (values.length) columns.push(values.join('|'));
  console.log(columns.join('\t'));
}
