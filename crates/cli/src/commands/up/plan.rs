//! What `remora up` will run: the settings, the command line over them, and then the bound sockets.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use remora_model_manager::{CommandLine, EngineDefinition, Stdin};
use remora_service::config::Settings;
use remora_service::identity::{IdentityConfig, Signer};
use remora_service::{BindError, ControlSocket, Identity, Listen, Listener, Service, ServiceName, Stop, durable};
use remora_types::engines::EngineAddress;

use super::{PortOwner, UpArgs};
use crate::failure::{Exit, Failure};

/// The one engine that `up` runs or uses. Settings can add more in `[model_manager]`.
const SLOT: u16 = 0;

/// Everything decided, nothing started.
#[derive(Debug)]
pub(crate) struct Plan {
    gateway: remora_gateway::Config,
    agents: remora_agents_server::Config,
    manager: remora_model_manager::Config,
    identity: Identity,
    engine: EnginePlan,
}

/// The engine of slot 0.
#[derive(Debug)]
pub(crate) enum EnginePlan {
    /// A child process of this one.
    Embedded {
        /// The GGUF file.
        model: PathBuf,
        /// Where it will answer.
        address: EngineAddress,
        /// More options, as they were typed.
        options: Vec<OsString>,
    },
    /// One that runs already.
    Adopted(EngineAddress),
}

impl EnginePlan {
    pub(crate) fn address(&self) -> &EngineAddress {
        match self {
            Self::Embedded { address, .. } | Self::Adopted(address) => address,
        }
    }
}

impl Plan {
    pub(crate) fn new(args: &UpArgs, settings: &Settings) -> anyhow::Result<Self> {
        let mut gateway: remora_gateway::Config = settings.section("gateway")?;
        let mut agents: remora_agents_server::Config = settings.section("agents_server")?;
        let mut manager: remora_model_manager::Config = settings.section("model_manager")?;
        let port = |owner| args.ports.iter().rev().find(|choice| choice.service == owner).map(|choice| choice.port);
        for (owner, listen) in [
            (PortOwner::Gateway, &mut gateway.listen),
            (PortOwner::AgentsServer, &mut agents.listen),
            (PortOwner::ModelManager, &mut manager.listen),
        ] {
            if let Listen::Tcp(address) = listen {
                address.set_port(port(owner).unwrap_or(address.port()));
                address.set_ip(args.host.unwrap_or(address.ip()));
            }
        }
        if let Some(root) = &args.agents {
            agents.root.clone_from(root);
        }
        if !agents.root.is_dir() && args.agents.is_some() {
            let failure = Failure::new(Exit::NotFound, format!("there is no folder {}", agents.root.display()));
            return Err(failure.hint("--agents wants the folder that holds the bundles").into());
        }
        let engine = match &args.engine {
            Some(address) => EnginePlan::Adopted(address.clone()),
            None => EnginePlan::Embedded {
                model: model_file(args.model.as_deref())?,
                address: EngineAddress::loopback(port(PortOwner::Engine).unwrap_or(EngineDefinition::slot_port(SLOT))),
                options: args.engine_options.clone(),
            },
        };
        let identity = Identity::new(&settings.section::<IdentityConfig>("identity")?)?;
        gateway.validate()?;
        agents.validate()?;
        manager.validate()?;
        Ok(Self { gateway, agents, manager, identity, engine })
    }

    /// Takes every port, or says which one is taken by whom.
    pub(crate) async fn bind(mut self) -> anyhow::Result<Bound> {
        let gateway = bind(&self.gateway.listen, "gateway").await?;
        let agents = bind(&self.agents.listen, "agents-server").await?;
        let manager = bind(&self.manager.listen, "model-manager").await?;
        if let EnginePlan::Embedded { address, .. } = &mut self.engine {
            *address = free_address(address).await?;
        }
        let control = ControlSocket::bind("up", gateway.listen().port()).await?;
        Ok(Bound {
            gateway,
            agents,
            manager,
            engine: self.engine,
            control,
            identity: self.identity,
            settings: (self.gateway, self.agents, self.manager),
        })
    }
}

/// The GGUF file to serve.
fn model_file(asked_for: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(path) = asked_for {
        // Told here: the engine would say so too, but only in its log.
        return path.canonicalize().map_err(|_| {
            let failure = Failure::new(Exit::NotFound, format!("there is no model file {}", path.display()));
            failure.hint("--model wants a GGUF file on this machine").into()
        });
    }
    let state = durable::state_dir().ok_or_else(|| anyhow!("there is no place for state: set REMORA_STATE_DIR"))?;
    let folder = state.join("models");
    remora_engine::demo_model::install(&folder)
        .with_context(|| format!("cannot put the demo model into {}", folder.display()))
}

async fn bind(listen: &Listen, service: &str) -> anyhow::Result<Listener> {
    Listener::bind(listen).await.map_err(|error| {
        let hint = match &error {
            BindError::Taken { .. } => format!("another port: --port {service}=PORT"),
            BindError::Other { .. } => "check --host and the `listen` settings".to_owned(),
        };
        anyhow::Error::new(error).context(Failure::new(Exit::Failure, format!("{service} cannot start")).hint(hint))
    })
}

/// Checks that the engine, which binds its own port, will find it free; port 0 becomes a free one.
async fn free_address(wanted: &EngineAddress) -> anyhow::Result<EngineAddress> {
    let EngineAddress::Tcp { authority, .. } = wanted else { return Ok(wanted.clone()) };
    let listener = bind(&authority.parse()?, "engine").await?;
    Ok(EngineAddress::loopback(listener.listen().port()))
}

/// Everything bound, nothing served.
pub(crate) struct Bound {
    pub(crate) gateway: Listener,
    pub(crate) agents: Listener,
    pub(crate) manager: Listener,
    pub(crate) engine: EnginePlan,
    pub(crate) control: ControlSocket,
    identity: Identity,
    settings: (remora_gateway::Config, remora_agents_server::Config, remora_model_manager::Config),
}

impl Bound {
    /// The services, ready to be run, with what is needed beside them.
    pub(crate) async fn into_services(self, stop: &Stop) -> anyhow::Result<Ready> {
        let (mut gateway, agents, mut manager) = self.settings;
        gateway.registry = Some(self.manager.url());
        manager.engines.insert(0, definition(self.engine)?);
        let as_gateway = self.identity.of_service(ServiceName::Gateway).await?;
        let as_agents = self.identity.of_service(ServiceName::AgentsServer).await?;
        let as_manager = self.identity.of_service(ServiceName::ModelManager).await?;
        let services = vec![
            remora_gateway::service(&gateway, self.gateway, &as_gateway).await?,
            remora_agents_server::service(&agents, self.agents, &as_agents, stop).await?,
            remora_model_manager::service(&manager, self.manager, &as_manager, stop)?,
        ];
        Ok(Ready { services, control: self.control, to_manager: as_gateway.signer(ServiceName::ModelManager) })
    }
}

/// The services of the process.
pub(crate) struct Ready {
    pub(crate) services: Vec<Service>,
    pub(crate) control: ControlSocket,
    /// Signs calls to model-manager in the gateway's name.
    pub(crate) to_manager: Signer,
}

/// The engine, as model-manager wants it described.
fn definition(engine: EnginePlan) -> anyhow::Result<EngineDefinition> {
    let (model, address, options) = match engine {
        EnginePlan::Adopted(address) => {
            let id = format!("slot-{SLOT}").parse()?;
            return Ok(EngineDefinition { slot: Some(SLOT), ..EngineDefinition::adopted(id, address) });
        }
        EnginePlan::Embedded { model, address, options } => (model, address, options),
    };
    let EngineAddress::Tcp { authority, .. } = &address else {
        return Err(anyhow!("the embedded engine needs a port"));
    };
    let port = authority.rsplit(':').next().unwrap_or_default().to_owned();
    let text = |path: OsString| path.into_string().map_err(|p| anyhow!("{} is not valid Unicode", p.display()));
    let program = text(std::env::current_exe().context("cannot find this program's own file")?.into())?;
    let mut words =
        vec!["engine".to_owned(), "--model".into(), text(model.into())?, "--port".into(), port, "--lifeline".into()];
    for option in options {
        words.push(text(option)?);
    }
    let environment = remora_engine::ENVIRONMENT.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let engine = EngineDefinition::in_slot(SLOT, CommandLine::new(program, words), Stdin::Lifeline);
    Ok(EngineDefinition { address, environment, ..engine })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn plan(line: &str) -> anyhow::Result<Plan> {
        let cli = Cli::parse_from(line.split(' '));
        let Command::Up(args) = cli.command else { panic!("not `up`") };
        let settings = Settings::from_parts(None, None, [])?;
        Plan::new(&args, &settings)
    }

    #[test]
    fn ports_and_host_apply_to_their_services() {
        let line = "remora up --engine http://127.0.0.1:1 --host 0.0.0.0 --port gateway=9000 --port gateway=9001";
        let plan = plan(line).unwrap();
        assert_eq!(plan.gateway.listen.to_string(), "0.0.0.0:9001");
        assert_eq!(plan.agents.listen.to_string(), "0.0.0.0:8001");
        assert!(matches!(plan.engine, EnginePlan::Adopted(_)));
    }

    #[test]
    fn what_does_not_exist_is_told_before_anything_starts() {
        let message = |line: &str| plan(line).unwrap_err().to_string();
        assert_eq!(message("remora up --model /no/model.gguf"), "there is no model file /no/model.gguf");
        assert_eq!(message("remora up --engine http://h:1 --agents /no/agents"), "there is no folder /no/agents");
    }
}
