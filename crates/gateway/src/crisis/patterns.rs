//! The built-in list: English, German, Spanish and French. Texts come without accents and with plain apostrophes.
//!
//! Most expressions hold a person who speaks of themselves (`I … myself`), or a sign of an emergency together with who
//! is in it. A bare "suicide" or "die" is none: those are topics. `\b` is the ASCII one, which keeps the search quick.

/// Looked for in any letters' case.
pub(super) const PATTERNS: &[&str] = &[
    // English: oneself.
    r"(?-u:\b)(?:kill|killing|hang|hanging|drown|drowning|shoot|shooting) myself(?-u:\b)(?: and| or| if| when| because| so|[.,!?;:]|\s*$| tonight| today| now)",
    r"(?-u:\b)i(?:'m| am| was)? ?(?:want|wanna|wanted|wish|need|going|gonna|plan|planning|think|thinking|have been thinking|thought|decided|trying|tried)(?: to| of| about| i could| on)* (?:kill|killing|hang|hanging|drown|drowning|shoot|shooting|hurt|hurting|harm|harming) myself(?-u:\b)",
    r"(?-u:\b)i(?:'m| am)? ?(?:just |really |only )?(?:want to|wanna|wanted to|wish i could|would rather|am ready to|'m ready to|ready to) (?:just )?die(?-u:\b)(?: tonight| today| now| already| alone| soon| so | and |[.,!?;:]|\s*$)",
    r"(?-u:\b)(?:want|wanna|going|gonna|plan|planning|decided|ready|thinking of|thinking about|thought about)(?: to)? (?:end|ending) (?:my (?:own )?life|it all(?:[.,!?;:]|\s*$| now| tonight))",
    r"(?-u:\b)(?:want|wanna|going|gonna|plan|planning|decided|ready|thinking of|thinking about|thought about)(?: to)? (?:take|taking) my (?:own life|life(?:[.,!?;:]|\s*$| now| tonight| today))",
    r"(?-u:\b)i(?:'m| am|'ve been| have been| feel| was)? (?:feeling |so |really |been )*suicidal(?-u:\b)",
    r"(?-u:\b)(?:my|i(?:'m| am|'ve)?(?: been)? (?:having|have|had|get|keep having)) suicidal thoughts(?-u:\b)",
    r"(?-u:\b)i(?:'m| am|'ve been| have been| keep|'ve| have)? (?:been |always |often )*(?:think|thinking|thought|consider|considering|considered|contemplate|contemplating|planning)(?: about| of)? (?:my )?(?:own )?suicide(?: a lot| again| lately| every| all | for | since | tonight| today| and i|[.,!?;:]|\s*$)",
    r"(?-u:\b)i(?:'m| am|'ve)? (?:\w+ ){0,4}(?:commit|committing|attempt|attempted) suicide(?-u:\b)",
    r"(?-u:\b)i (?:do not|don'?t|no longer|can'?t) (?:really )?(?:want to|wanna|wish to|keep on|go on) (?:live|living|be alive|exist)(?: any ?more| any longer|[.,!?;:]|\s*$)",
    r"(?-u:\b)i (?:no longer )?(?:do not|don'?t)? ?want to be (?:dead)(?-u:\b)",
    r"(?-u:\b)(?:everyone|everybody|they|the world|my family|my kids) (?:would|will|'d|is|are)(?: all| be)* better off (?:without me|if i (?:was|were) (?:dead|gone))(?-u:\b)",
    r"(?-u:\b)i (?:keep |have been |'ve been |started |can'?t stop |just |still )?(?:cut|cutting|burn|burning|hurt|hurting|harm|harming) myself(?: again| on purpose| last night| tonight| today| because| and can| when i feel|[.!]|\s*$)",
    // English: an emergency.
    r"(?-u:\b)(?:he|she|they|my (?:husband|wife|boyfriend|girlfriend|ex|partner|father|dad|mother|mom|mum|brother|son)|someone|somebody)(?:'s| is| are|'re)? (?:trying|threatening|about) to (?:kill|murder|shoot|stab|hurt) (?:me|us|her|him|himself|herself|themselves)(?-u:\b)",
    r"(?-u:\b)(?:has|have|got|holding|with) a (?:gun|knife|weapon)(?-u:\b).{0,40}(?-u:\b)(?:kill|shoot|stab|hurt|threaten\w*) (?:me|us|him|her|himself|herself)(?-u:\b)",
    r"(?-u:\b)(?:took|taken|swallowed) (?:an overdose|too many (?:pills|tablets)|a (?:whole )?bottle of (?:pills|tablets))(?-u:\b)",
    r"(?-u:\b)(?:he|she|my (?:\w+)|the baby|our baby|someone|somebody)(?:'s| is|'s| has)?(?: not| n't|n't| stopped) breathing(?: anymore|[.,!?;:]|\s*$)",
    // German.
    r"(?-u:\b)ich (?:\w+ ){0,4}(?:mich |mir )?(?:umbringen|umzubringen|das leben (?:zu )?nehmen|erhangen|selbst toten|selber toten)(?-u:\b)",
    r"(?-u:\b)ich bring(?:e)? mich (?:\w+ )?um(?:[.,!?;:]|\s*$)",
    r"(?-u:\b)ich (?:will|mochte|kann|mag) (?:einfach |wirklich |so )?nicht mehr (?:leben|weiterleben|da sein|existieren)(?: mussen)?(?:[.,!?;:]|\s*$)",
    r"(?-u:\b)ich (?:will|mochte|wollte) (?:einfach |nur |nur noch |jetzt )*sterben(?:[.,!?;:]|\s*$)",
    r"(?-u:\b)(?:ich|meine|mein) (?:\w+ ){0,4}(?:selbstmordgedanken|suizidgedanken|suizidal|selbstmordgefahrdet)(?-u:\b)",
    r"(?-u:\b)ich (?:denke|dachte) (?:\w+ ){0,3}(?:an|uber) (?:selbstmord|suizid)(?-u:\b)",
    r"(?-u:\b)ich (?:ritze|verletze|schneide) mich(?: wieder| selbst| selber| jeden| absichtlich| oft|[.,!?;:]|\s*$)",
    r"(?-u:\b)(?:er|sie|mein \w+|meine \w+|das baby) atmet nicht(?: mehr)?(?:[.,!?;:]|\s*$)",
    r"(?-u:\b)(?:er|sie|mein \w+) (?:will|droht) (?:mich|uns)(?: zu)? (?:umzubringen|umbringen|toten|erschiessen|erstechen)(?-u:\b)",
    r"(?-u:\b)uberdosis (?:genommen|geschluckt)(?-u:\b)",
    // Spanish.
    r"(?-u:\b)(?:me quiero|quiero|voy a|pienso en|he pensado en|estoy pensando en|intente|he intentado) (?:suicidarme|matarme|quitarme la vida|matar(?:[.,!?;:]|\s*$))",
    r"(?-u:\b)me (?:quiero|voy a) (?:morir|matar|suicidar)(?:[.,!?;:]|\s*$| ya| hoy)",
    r"(?-u:\b)quiero (?:morir|morirme|estar muert[oa])(?:[.,!?;:]|\s*$| ya| hoy)",
    r"(?-u:\b)(?:ya )?no quiero (?:seguir )?(?:vivir|viviendo|vivir mas)(?: mas)?(?:[.,!?;:]|\s*$)",
    r"(?-u:\b)(?:pienso|pensando) (?:mucho )?en el suicidio(?-u:\b)",
    r"(?-u:\b)(?:tengo )?pensamientos suicidas(?:[.,!?;:]|\s*$)",
    r"(?-u:\b)me (?:estoy )?(?:corto|cortando|hago dano|haciendo dano|autolesiono|autolesionando)(?: otra vez| de nuevo| a mi mism[oa]| los brazos| a proposito|[.,!?;:]|\s*$)",
    r"(?-u:\b)(?:mi \w+|el bebe|el|ella) (?:ya )?no (?:esta )?respira(?:ndo)?(?:[.,!?;:]|\s*$)",
    r"(?-u:\b)(?:me|nos) quiere matar(?:[.,!?;:]|\s*$)",
    // French.
    r"(?-u:\b)(?:je veux|je vais|j'ai envie de|envie de|je pense a|j'ai pense a|j'ai essaye de) (?:me (?:tuer|suicider|pendre|foutre en l'air)|en finir|mettre fin a mes jours)(?-u:\b)",
    r"(?-u:\b)(?:je veux|j'ai envie de|je voudrais|envie de) mourir(?:[.,!?;:]|\s*$| maintenant| ce soir)",
    r"(?-u:\b)je (?:ne )?(?:veux|peux) plus vivre(?:[.,!?;:]|\s*$| comme ca)",
    r"(?-u:\b)je pense (?:souvent |beaucoup )?au suicide(?-u:\b)",
    r"(?-u:\b)(?:j'ai (?:des )?)(?:pensees suicidaires|idees suicidaires|idees noires)(?-u:\b)",
    r"(?-u:\b)je suis suicidaire(?-u:\b)",
    r"(?-u:\b)je me (?:scarifie|mutile|coupe(?: les bras| expres| encore| de nouveau))(?-u:\b)",
    r"(?-u:\b)(?:il|elle|mon \w+|ma \w+|le bebe) ne respire plus(?-u:\b)",
    r"(?-u:\b)(?:il|elle|mon \w+) (?:veut|menace de) (?:me|nous) tuer(?-u:\b)",
];
