//! What a user probably meant: nearest names, and the names of CleanRL and rl-zoo3.

/// Keys of other libraries and what they are called here.
const FOREIGN_KEYS: &[(&str, &str)] = &[
    ("anneal_lr", "agent.learning_rate = \"lin_…\""),
    ("clip_coef", "agent.clip_range"),
    ("clip_vloss", "agent.clip_range_vf"),
    ("end_e", "agent.exploration_final_eps"),
    ("env_id", "env.id"),
    ("env_kwargs", "env.args"),
    ("lr", "agent.learning_rate"),
    ("n_timesteps", "train.total_timesteps"),
    ("norm_adv", "agent.normalize_advantage"),
    ("num_envs", "env.n_envs"),
    ("num_minibatches", "agent.batch_size = n_envs * n_steps / num_minibatches"),
    ("num_steps", "agent.n_steps"),
    ("policy_kwargs", "agent.net_arch and agent.activation_fn"),
    ("start_e", "agent.exploration_initial_eps"),
    ("target_network_frequency", "agent.target_update_interval"),
    ("train_frequency", "agent.train_freq"),
    ("update_epochs", "agent.n_epochs"),
];

/// What to write instead of the unknown key of serde's `message`; `tables` lists the keys of each
/// table of a run file.
pub(crate) fn for_unknown_key(message: &str, tables: &[(&str, &[&str])]) -> Option<String> {
    let mut quoted = message.strip_prefix("unknown field `")?.split('`').step_by(2);
    let key = quoted.next()?;
    if let Some((_, here)) = FOREIGN_KEYS.iter().find(|(foreign, _)| *foreign == key) {
        return Some(format!("`{key}` is called `{here}` here"));
    }
    if let Some((table, _)) = tables.iter().find(|(_, keys)| keys.contains(&key)) {
        return Some(format!("`{key}` belongs in `[{table}]`"));
    }
    nearest(key, quoted).map(|name| format!("did you mean `{name}`?"))
}

/// The candidate that looks most like `name`, if any looks much like it.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let best = *by_likeness(name, candidates).first()?;
    (likeness(name, best) >= 0.5).then_some(best)
}

/// The candidates, the one that looks most like `name` first.
pub(crate) fn by_likeness<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Vec<&'a str> {
    let mut sorted: Vec<&str> = candidates.collect();
    sorted.sort_by(|a, b| likeness(name, b).total_cmp(&likeness(name, a)));
    sorted
}

fn likeness(a: &str, b: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(&a.to_lowercase(), &b.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_gets_the_nearest_name() {
        let message = "unknown field `learning_rat`, expected one of `gamma`, `learning_rate`";
        let hint = for_unknown_key(message, &[]);
        assert_eq!(hint.as_deref(), Some("did you mean `learning_rate`?"));
        assert_eq!(for_unknown_key("unknown field `zzz`, expected `gamma`", &[]), None);
        assert_eq!(for_unknown_key("invalid type: string", &[]), None);
    }

    #[test]
    fn a_key_of_another_library_or_table_is_recognised() {
        let hint = for_unknown_key("unknown field `num_envs`, expected `id` or `n_envs`", &[]);
        assert_eq!(hint.as_deref(), Some("`num_envs` is called `env.n_envs` here"));
        let tables: &[(&str, &[&str])] = &[("train", &["total_timesteps"])];
        let message = "unknown field `total_timesteps`, expected `gamma`";
        let hint = for_unknown_key(message, tables);
        assert_eq!(hint.as_deref(), Some("`total_timesteps` belongs in `[train]`"));
    }
}
