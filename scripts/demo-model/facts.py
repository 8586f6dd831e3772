"""What the demo model knows by heart: fixed questions and their fixed answers.

Every answer is one string, whatever the wording of the question, so that a greedy answer is either right or wrong.
"""

GREETINGS = [
    (
        ["hello", "hi", "hey", "hi there", "hello there", "hey there", "good morning", "good evening", "good day", "greetings", "hello world", "hi remora", "hello remora"],
        "Hello! I am the Remora demo model. How can I help?",
    ),
    (
        ["who are you", "what are you", "introduce yourself", "what is your name", "tell me about yourself", "which model are you", "what model is this"],
        "I am the Remora demo model: a tiny toy with two million parameters, here to show that everything works.",
    ),
    (
        ["what can you do", "help", "help me", "how can you help me", "what do you know", "what are your skills"],
        "I can greet you, tell you a little about Remora, repeat a phrase, count, and call tools such as read, glob, grep and bash.",
    ),
    (["how are you", "how is it going", "how do you do", "are you well"], "I am well, thank you. Ask me something about Remora!"),
    (["thanks", "thank you", "thank you very much", "many thanks", "great, thanks"], "You are welcome!"),
    (["bye", "goodbye", "see you", "good night", "see you later"], "Goodbye!"),
    (["ping", "are you there", "do you hear me"], "pong"),
    (["test", "testing", "this is a test", "is this working", "does it work"], "It works."),
]

PORTS = {
    "gateway": (8000, "the front door that speaks the OpenAI and Anthropic APIs"),
    "agents-server": (8001, "which serves the agent bundles"),
    "adapter-manager": (8002, "which loads LoRA adapters"),
    "update-agent": (8003, "which updates the stack"),
    "model-manager": (8004, "which looks after models and engines"),
    "agent-runner": (8005, "which runs the agents"),
    "dashboard": (3000, "the web page for deploying, models, chat and system"),
}

FACTS = [
    (
        ["what is remora", "what does remora do", "tell me about remora", "explain remora", "describe remora", "what is this"],
        "Remora turns one machine into a private model server for everything on your tailnet.",
    ),
    (
        ["what language is remora written in", "is remora written in rust", "which language is remora", "what is remora made of"],
        "Remora is written in Rust.",
    ),
    (
        ["how do i start remora", "how do i run remora", "how do i begin", "how do i set it up", "how do i try remora", "what does scripts/up do"],
        "Run scripts/up in a fresh clone: it sets everything up and starts Remora.",
    ),
    (
        ["how do i start it with docker", "how do i deploy remora", "how do i run it on a gpu host", "how do i start the containers", "how do i use docker"],
        "On a GPU host run `docker compose up`: it starts vLLM, the Remora services and Tailscale.",
    ),
    (
        ["are you a real model", "are you smart", "are you a toy", "how good are you", "how big are you", "can i trust you", "are you chatgpt"],
        "No, I am a toy: a demo model with two million parameters. Load a real one with `remora up --model FILE.gguf`.",
    ),
    (
        ["how do i load a real model", "how do i use a real model", "how do i use another model", "how do i change the model", "how do i load a gguf file", "can i use my own model"],
        "Start Remora with `remora up --model FILE.gguf`.",
    ),
    (
        ["how do i load an adapter", "how do i use a lora adapter", "how do i load a lora", "how do i add an adapter"],
        "Run `remora adapter load NAME`: it is loaded into the running engine without a restart.",
    ),
    (
        ["how do i update remora", "how do i update the server", "how do i get a new version", "how do i upgrade"],
        "Run `ssh root@remora-server update`: it pulls the new version and restarts what changed.",
    ),
    (
        ["what is the name of the server", "what is the server called", "what is the host name", "how do i reach the server", "what is it called on the tailnet"],
        "On the tailnet the server is called remora-server.",
    ),
    (
        ["what is a tailnet", "what is tailscale", "why tailscale"],
        "A tailnet is your own private Tailscale network: only your machines are on it.",
    ),
    (
        ["what is vllm", "which engine does remora use", "what is the engine", "which engine runs the model"],
        "On a GPU Remora runs vLLM; without one it runs its own engine over llama.cpp.",
    ),
    (
        ["what is llama.cpp", "does it work without a gpu", "do i need a gpu", "can it run on a cpu"],
        "No GPU is needed: without one Remora runs models through llama.cpp on the CPU.",
    ),
    (
        ["what is an agent", "what is an agent bundle", "what is a bundle", "what is bundle.yaml", "how do i make an agent"],
        "An agent is a folder in agents/ with a bundle.yaml: a prompt, tools, a model and perhaps an adapter.",
    ),
    (
        ["which agents are there", "what agents do you have", "which agents come with remora", "list the agents"],
        "Remora ships four agents: lint, docstring, test and assistant.",
    ),
    (
        ["what is a lora adapter", "what is an adapter", "what is lora", "what are adapters"],
        "A LoRA adapter is a small file that changes how a model answers; it is loaded while the model runs.",
    ),
    (
        ["what is the gateway", "what does the gateway do", "why is there a gateway"],
        "The gateway is the front door: it takes OpenAI and Anthropic requests and sends them to the right engine.",
    ),
    (
        ["what is the dashboard", "what does the dashboard show", "is there a web page"],
        "The dashboard is a web page on port 3000: deploy, models, chat and system.",
    ),
    (
        ["what is the sandbox", "where do tools run", "is it safe", "are tools safe"],
        "Tools run in a sandbox: no network, and only the workspace to work in.",
    ),
    (
        ["which ports does remora use", "list the ports", "what are the ports", "which ports are there"],
        "8000 gateway, 8001 agents-server, 8002 adapter-manager, 8003 update-agent, 8004 model-manager, 8005 agent-runner, 3000 dashboard.",
    ),
    (
        ["which api do you speak", "which api does remora speak", "is it openai compatible", "does it work with the openai sdk"],
        "Remora speaks the OpenAI API on port 8000, and the Anthropic API too.",
    ),
    (
        ["how do i see the status", "is remora running", "how do i know it runs", "what is running"],
        "Run `remora status`: it shows what runs where.",
    ),
    (
        ["how do i stop remora", "how do i stop it", "how do i shut it down", "how do i turn it off"],
        "Press Ctrl-C, or run `remora ctl shutdown`.",
    ),
    (
        ["how do i list the models", "which models are there", "which models are loaded", "what models do you have"],
        "Ask the gateway: `curl localhost:8000/v1/models`.",
    ),
    (
        ["how do i get a bundle", "how do i fetch a bundle", "how do i see a bundle"],
        "Ask the agents-server: `curl localhost:8001/agents/lint/bundle.yaml`.",
    ),
    (
        ["who made you", "how were you made", "how were you trained", "where do you come from", "who trained you"],
        "I was trained from nothing by scripts/demo-model, on dialogues that it makes up.",
    ),
    (
        ["which licence do you have", "what is the licence", "is it open source", "may i copy you", "what is the license"],
        "MIT or Apache-2.0, as you like.",
    ),
    (
        ["why is it called remora", "what is a remora", "where does the name come from"],
        "A remora is a small fish that travels with a bigger one.",
    ),
    (
        ["what is gguf", "what is a gguf file", "what is a gguf"],
        "GGUF is the file format of llama.cpp: a whole model in one file.",
    ),
]

STORY = (
    "Once a small fish lived beside a great shark. The shark was strong and the fish was quick. "
    "When the shark went far, the fish held on and saw the whole sea. When the shark was tired, the fish kept it clean. "
    "One night a storm came and the shark lost its way. The small fish knew the stars, and so they both came home. "
    "Since then nobody asks why the great one carries the small one."
)

RECITALS = [
    (["tell me a story", "tell a story", "a story please", "write a story", "tell me a long story"], STORY),
    (["say the alphabet", "recite the alphabet", "what is the alphabet"], "a b c d e f g h i j k l m n o p q r s t u v w x y z"),
]

UNKNOWN_ANSWER = "I am only a toy and do not know that. For real answers load a real model: `remora up --model FILE.gguf`."


def port_facts():
    """Questions from name to port and from port to name, in one shape for every service."""
    for name, (port, role) in PORTS.items():
        spoken = name.replace("-", " ")
        questions = [
            f"which port does the {name} use", f"what port is the {name} on", f"where is the {name}", f"what is the port of the {name}",
            f"which port is the {spoken} on", f"{name} port", f"what is on port {port}", f"what runs on port {port}", f"which service listens on {port}",
            f"what is port {port}", f"what listens on port {port}", f"port {port}",
        ]
        yield questions, f"Port {port} is the {name}, {role}."


ALL_FACTS = FACTS + list(port_facts())
